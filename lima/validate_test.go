package lima

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

func goldens(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "lima", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	found := map[string][]byte{}
	for _, f := range files {
		if found[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func TestValidateGoldens(t *testing.T) {
	for file, data := range goldens(t) {
		if err := Validate(data, filepath.Join(t.TempDir(), "lima.yaml")); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	good := string(goldens(t)[filepath.Join("..", "testdata", "lima", "linux.yaml")])
	for says, change := range map[string]func(string) string{
		"cpu":                   func(s string) string { return strings.Replace(s, "cpus:", "cpu:", 1) },
		"writeable":             func(s string) string { return strings.Replace(s, "  writable: true", "  writeable: true", 1) },
		"ignored":               func(s string) string { return strings.Replace(s, "ignore: true", "ignored: true", 1) },
		"minimumLimaVersion":    func(s string) string { return strings.Replace(s, `"1.1.0"`, `"new"`, 1) },
		"requires Lima version": func(s string) string { return strings.Replace(s, `"1.1.0"`, `"9.0.0"`, 1) },
		"must not be 22":        func(s string) string { return strings.Replace(s, "guestPort: 9843", "guestPort: 22", 1) },
		"mountType":             func(s string) string { return strings.Replace(s, "mountType: reverse-sshfs", "mountType: 9p", 1) },
		"lima refuses":          func(s string) string { return s + "\n  x: ]" },
	} {
		changed := change(good)
		if changed == good {
			t.Fatalf("%q: nothing changed", says)
		}
		err := Validate([]byte(changed), filepath.Join(t.TempDir(), "lima.yaml"))
		if proto.CodeOf(err) != proto.Internal || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v", says, err)
		}
	}
}

// The user's global defaults of Lima must not leak into the judgement.
func TestValidateReadsNoGlobalDefaults(t *testing.T) {
	home := t.TempDir()
	t.Setenv("LIMA_HOME", home)
	if err := os.Mkdir(filepath.Join(home, "_config"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "_config", "override.yaml"), []byte("cpus: x\nvmType: nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, data := range goldens(t) {
		if err := Validate(data, filepath.Join(t.TempDir(), "lima.yaml")); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestPinnedVersion(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "github.com/lima-vm/lima v"+pinned) {
		t.Errorf("go.mod does not have Lima %s", pinned)
	}
}
