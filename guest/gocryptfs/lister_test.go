//go:build linux

package gocryptfs

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

const testPass = proto.Secret("a passphrase\twith spaces")

// longName is a name of 255 bytes.
func longName(i int) string { return fmt.Sprintf("%03d ", i) + strings.Repeat("ü", 125) + "x" }

// makeVault makes a vault with such options, in which fill has written.
func makeVault(t *testing.T, fill func(dir string), options ...string) (dir string, config []byte) {
	t.Helper()
	if _, err := exec.LookPath("gocryptfs"); err != nil {
		t.Skip("gocryptfs is not installed")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("there is no /dev/fuse")
	}
	tmp := t.TempDir()
	dir, mnt, source := filepath.Join(tmp, "vault"), filepath.Join(tmp, "mnt"), filepath.Join(tmp, "source")
	for _, d := range []string{dir, mnt, source} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	reverse := slices.Contains(options, "-reverse")
	in := dir
	if reverse {
		in = source
	}
	argv := append([]string{"gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", "/dev/fd/3"}, options...)
	if err := proc.Run(t.Context(), proc.Cmd{Argv: append(argv, "--", in), Secrets: [][]byte{line(testPass)}}); err != nil {
		t.Fatal(err)
	}
	if reverse {
		fill(source)
	}
	m, err := Start(t.Context(), in, mnt, testPass, Options{Reverse: reverse, Writable: !reverse, Log: filepath.Join(tmp, "log")})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	unmount := func() {
		if !closed {
			closed = true
			if _, err := m.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	defer unmount()
	if reverse {
		err = os.CopyFS(dir, os.DirFS(mnt))
	} else {
		fill(mnt)
	}
	if err != nil {
		t.Fatal(err)
	}
	unmount()
	config, err = os.ReadFile(filepath.Join(dir, ConfigName))
	if err != nil {
		t.Fatal(err)
	}
	return dir, config
}

// fillNames makes folders with names of all kinds.
func fillNames(t *testing.T) func(dir string) {
	return func(dir string) {
		for _, d := range []string{".", "folder", "folder/" + longName(0), "folder/" + longName(0) + "/ä"} {
			if d != "." {
				if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 25 {
				for _, name := range []string{longName(i + 1), fmt.Sprint("short", i), strings.Repeat("m", 60+i*4), strings.Repeat("€", i+1)} {
					if err := os.WriteFile(filepath.Join(dir, d, name), []byte("x"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, name := range []string{"not \xff UTF-8", "line\nbreak", "gocryptfs.diriv ", ".hidden", "a", strings.Repeat("b", 175), strings.Repeat("b", 176)} {
				if err := os.WriteFile(filepath.Join(dir, d, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := os.Symlink("nowhere", filepath.Join(dir, "folder", strings.Repeat("l", 200))); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "few"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "few", longName(1)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// lister opens a Lister as a server does.
func lister(t *testing.T, vault string, key *NameKey) *Lister {
	t.Helper()
	b, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLister(vault, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// mounted is what gocryptfs itself shows of the vault, as names by folder.
func mounted(t *testing.T, vault string) map[string][]string {
	t.Helper()
	mnt := t.TempDir()
	m, err := Start(t.Context(), vault, mnt, testPass, Options{Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(t.Context())
	all := map[string][]string{}
	if err := fs.WalkDir(os.DirFS(mnt), ".", func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			entries, rerr := os.ReadDir(filepath.Join(mnt, p))
			err = rerr
			for _, e := range entries {
				all[p] = append(all[p], e.Name())
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// A Lister knows the names that gocryptfs itself shows, for each kind of vault of which it
// takes the key.
func TestListerAgreesWithGocryptfs(t *testing.T) {
	for _, options := range [][]string{nil, {"-reverse"}, {"-raw64=false"}, {"-longnamemax=100"}, {"-xchacha"}, {"-reverse", "-longnamemax=70"}} {
		t.Run(strings.Join(append([]string{"options"}, options...), " "), func(t *testing.T) {
			vault, config := makeVault(t, fillNames(t), options...)
			key, err := UnlockNames(t.Context(), config, testPass)
			if err != nil {
				t.Fatal(err)
			}
			l := lister(t, vault, key)
			folders := 0
			for folder, want := range mounted(t, vault) {
				got, ok := l.Names(folder)
				slices.Sort(got)
				slices.Sort(want)
				switch {
				case folder == "few" && ok:
					t.Errorf("%s: it is worth nothing there", folder)
				case folder != "few" && (!ok || !slices.Equal(got, want)):
					t.Errorf("%q: %v,\n%q and not\n%q", folder, ok, got, want)
				}
				folders++
			}
			if folders != 5 {
				t.Errorf("%d folders", folders)
			}
		})
	}
}

// Of a vault with other names, or without the passphrase, there is no key.
func TestUnlockNamesRefuses(t *testing.T) {
	none := func(string) {}
	for _, option := range []string{"-plaintextnames", "-deterministic-names"} {
		if _, config := makeVault(t, none, option); true {
			if _, err := UnlockNames(t.Context(), config, testPass); err == nil {
				t.Error(option)
			}
		}
	}
	_, config := makeVault(t, none)
	if _, err := UnlockNames(t.Context(), config, testPass+"x"); err == nil {
		t.Error("a wrong passphrase")
	}
	if _, err := UnlockNames(t.Context(), config, testPass); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(c map[string]any){
		"scrypt takes all memory": func(c map[string]any) { c["ScryptObject"].(map[string]any)["N"] = 1 << 30 },
		"scrypt makes too much":   func(c map[string]any) { c["ScryptObject"].(map[string]any)["KeyLen"] = 1 << 34 },
		"no key":                  func(c map[string]any) { c["EncryptedKey"] = "AAAA" },
		"FIDO2":                   func(c map[string]any) { c["FeatureFlags"] = append(c["FeatureFlags"].([]any), "FIDO2") },
	} {
		var c map[string]any
		if err := json.Unmarshal(config, &c); err != nil {
			t.Fatal(err)
		}
		change(c)
		b, _ := json.Marshal(c)
		if _, err := UnlockNames(t.Context(), b, testPass); err == nil {
			t.Error(what)
		}
	}
}

// What is damaged, or put there by somebody else, is left to gocryptfs.
func TestListerIsCertainOrSilent(t *testing.T) {
	vault, config := makeVault(t, fillNames(t))
	key, err := UnlockNames(t.Context(), config, testPass)
	if err != nil {
		t.Fatal(err)
	}
	l := lister(t, vault, key)
	enc, err := l.encrypt("folder")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(vault, enc)
	names, _ := filepath.Glob(filepath.Join(dir, longNamePrefix+"*"+longNameSuffix))
	if len(names) < 20 {
		t.Fatal(names)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	write := func(name string, b []byte) func() error {
		return func() error {
			_ = os.Remove(name) // gocryptfs makes it read-only
			return os.WriteFile(name, b, 0o600)
		}
	}
	first, second, iv := read(names[0]), read(names[1]), read(filepath.Join(dir, DirIVName))
	for what, c := range map[string]struct{ damage, mend func() error }{
		"a name is missing":        {func() error { return os.Remove(names[0]) }, write(names[0], first)},
		"a name is another's":      {write(names[0], second), write(names[0], first)},
		"a name is cut":            {write(names[0], first[:100]), write(names[0], first)},
		"a name is longer":         {write(names[0], append(slices.Clone(first), 'A')), write(names[0], first)},
		"a name is empty":          {write(names[0], nil), write(names[0], first)},
		"the IV is another's":      {write(filepath.Join(dir, DirIVName), []byte("0123456789abcdef")), write(filepath.Join(dir, DirIVName), iv)},
		"the IV is zero":           {write(filepath.Join(dir, DirIVName), make([]byte, 16)), write(filepath.Join(dir, DirIVName), iv)},
		"the IV is cut":            {write(filepath.Join(dir, DirIVName), iv[:10]), write(filepath.Join(dir, DirIVName), iv)},
		"a file of somebody else":  {write(filepath.Join(dir, "strange"), nil), func() error { return os.Remove(filepath.Join(dir, "strange")) }},
		"an encrypted name, short": {write(filepath.Join(dir, "AAAA"), nil), func() error { return os.Remove(filepath.Join(dir, "AAAA")) }},
		"an encrypted name, huge":  {write(filepath.Join(dir, strings.Repeat("A", 252)), nil), func() error { return os.Remove(filepath.Join(dir, strings.Repeat("A", 252))) }},
		"the folder is a link out": {func() error {
			return inOrder(os.Rename(dir, vault+".away"), os.Symlink(vault+".away", dir))
		}, func() error { return inOrder(os.Remove(dir), os.Rename(vault+".away", dir)) }},
		"a name is a link out": {func() error {
			return inOrder(os.Rename(names[0], vault+".name"), os.Symlink(vault+".name", names[0]))
		}, func() error { return inOrder(os.Remove(names[0]), os.Rename(vault+".name", names[0])) }},
		"a name is a FIFO": {func() error {
			return inOrder(os.Remove(names[0]), syscall.Mkfifo(names[0], 0o600))
		}, func() error { return inOrder(os.Remove(names[0]), write(names[0], first)()) }},
	} {
		if err := c.damage(); err != nil {
			t.Fatal(what, err)
		}
		if names, ok := l.Names("folder"); ok {
			t.Errorf("%s: %d names", what, len(names))
		}
		if err := c.mend(); err != nil {
			t.Fatal(what, err)
		}
		if names, ok := l.Names("folder"); !ok || len(names) < 100 {
			t.Errorf("after %s: %v, %d names", what, ok, len(names))
		}
	}
	for _, folder := range []string{"nowhere", "folder/nowhere", "folder/a", strings.Repeat("x", 256), strings.Repeat("x", 5000), "folder/" + longName(99)} {
		if names, ok := l.Names(folder); ok {
			t.Errorf("%q has %q", folder, names)
		}
	}
}

func inOrder(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A folder that was replaced by one of the same name has another directory IV, under which the
// names of what is in it are others.
func TestListerForgetsReplacedFolders(t *testing.T) {
	vault, config := makeVault(t, fillNames(t))
	key, err := UnlockNames(t.Context(), config, testPass)
	if err != nil {
		t.Fatal(err)
	}
	l := lister(t, vault, key)
	below := "folder/" + longName(0)
	if _, ok := l.Names(below); !ok {
		t.Fatal("not known")
	}
	mnt := t.TempDir()
	m, err := Start(t.Context(), vault, mnt, testPass, Options{Writable: true, Log: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(t.Context())
	if err := os.RemoveAll(filepath.Join(mnt, "folder")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(mnt, below), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := os.WriteFile(filepath.Join(mnt, below, longName(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if names, ok := l.Names(below); ok && len(names) != 5 { // by the old IV it is not found
		t.Errorf("%q", names)
	}
	if names, ok := l.Names(below); !ok || len(names) != 5 {
		t.Errorf("%v, %d names", ok, len(names))
	}
}
