package release

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"fuseless/magefiles/guestbin"
)

// checkout copies a checkout without its history.
func checkout(t *testing.T, from, to string) {
	t.Helper()
	for _, n := range names(t, from) {
		switch fi, err := os.Stat(filepath.Join(from, n)); {
		case err != nil:
			t.Fatal(err)
		case n == ".git":
		case fi.IsDir():
			must(t, os.CopyFS(filepath.Join(to, n), os.DirFS(filepath.Join(from, n))))
		default:
			b, err := os.ReadFile(filepath.Join(from, n))
			must(t, err)
			must(t, os.MkdirAll(to, 0o755))
			must(t, os.WriteFile(filepath.Join(to, n), b, fi.Mode()))
		}
	}
}

// makeTo names the environment variable that makes this test a program that
// makes a release of the checkout that it runs in, for this platform only.
const makeTo = "FUSELESS_TEST_RELEASE_TO"

func TestMain(m *testing.M) {
	to := os.Getenv(makeTo)
	if to == "" {
		os.Exit(m.Run())
	}
	src, err := guestbin.Source()
	if err == nil {
		m := maker{src: src, platforms: []platform{{runtime.GOOS, runtime.GOARCH}}, compile: guestbin.CompileTasks}
		err = m.run(context.Background(), Options{To: to, Version: "1.2.0", Out: os.Stdout})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestTwoBuilds: a release depends on the source only, not on where it is, in
// whose clone, through which path, with which settings, and when.
func TestTwoBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles fuseless twice")
	}
	src, err := guestbin.Source()
	must(t, err)
	top := t.TempDir()
	one, two := filepath.Join(top, "one"), filepath.Join(top, "two", "in a longer path")
	checkout(t, src, one)
	checkout(t, one, two) // src may change meanwhile

	// A program of its own, since xz takes ten times as long under the race
	// detector.
	make := filepath.Join(top, "make")
	c := exec.Command("go", "test", "-c", "-o", make, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v: %s", err, said)
	}
	release := func(src string, env ...string) map[string]string {
		t.Helper()
		to := filepath.Join(t.TempDir(), "to")
		c := exec.Command(make)
		c.Dir = src
		c.Env = append(append(os.Environ(), "PWD="+src, makeTo+"="+to, "SOURCE_DATE_EPOCH=1767225600"), env...)
		if said, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		return contents(t, filepath.Join(to, "1.2.0"))
	}
	first := release(one)

	if _, err := exec.LookPath("git"); err == nil {
		git(t, two, "init", "-q")
		git(t, two, "add", ".")
		git(t, two, "commit", "-qm", "another")
		git(t, two, "tag", "v3.0.0")
	}
	link := filepath.Join(top, "link")
	must(t, os.Symlink(two, link))
	tmp := filepath.Join(top, "another-tmp")
	must(t, os.Mkdir(tmp, 0o755))
	second := release(link, "TMPDIR="+tmp, "TZ=Asia/Tokyo", "GOFLAGS=-tags=other", "GOAMD64=v3", "GOARM64=v8.1",
		"GOWORK="+filepath.Join(top, "none.work"))

	for name, content := range first {
		if second[name] != content {
			t.Errorf("%s differs", name)
		}
	}
	if len(second) != len(first) || len(first) != 3 {
		t.Errorf("made %d and %d files", len(first), len(second))
	}

	archive := filepath.Join(top, "fuseless.tar.gz")
	must(t, os.WriteFile(archive, []byte(first[platform{runtime.GOOS, runtime.GOARCH}.archive("1.2.0")]), 0o644))
	if said, err := exec.Command("tar", "-xzf", archive, "-C", top, "fuseless").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, said)
	}
	task := filepath.Join(top, "fuseless")
	b, err := os.ReadFile(task)
	must(t, err)
	said, err := exec.Command("go", "env", "GOROOT", "GOMODCACHE", "GOCACHE").Output()
	must(t, err)
	for _, leak := range append(strings.Fields(string(said)), top, src) {
		if at := bytes.Index(b, []byte(leak)); at >= 0 {
			t.Errorf("the program holds %q, in %q", leak, b[max(0, at-40):at+len(leak)+40])
		}
	}
	// What the formula's test does.
	if said, err := exec.Command(task, "-l").CombinedOutput(); err != nil || !strings.Contains(string(said), "remoteMount") {
		t.Errorf("fuseless -l: %v: %s", err, said)
	}
}
