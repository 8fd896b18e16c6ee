//go:build linux

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

// TestNewMachine: the disk is gone; a configuration with the destination, and
// the passphrase, are enough.
func TestNewMachine(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	want := snapshot(t, l.source)
	must(t, os.RemoveAll(l.source))
	must(t, os.RemoveAll(l.home))
	must(t, os.Mkdir(l.home, 0o700))
	before := l.onRemote()
	l.configureWith("")
	l.judge(want, l.restored(), "forward")
	l.ok("remoteMount", "serve")
	l.ok("status")
	l.ok("down")
	for _, target := range []string{"backup", "init", "restore"} {
		l.refused(proto.Config, []string{target}, "has no source")
	}
	// With the source's folder in the configuration, that is where it goes.
	l.configure()
	l.ok("restore")
	l.judge(want, snapshot(t, l.source), "forward")
	l.ok("backup")
	if r := l.last(); r.Created != 0 || r.Deleted != 0 || r.Literal != 0 {
		t.Errorf("the first backup after the restore: %+v", r)
	}
	l.kept("after all", before)
}

// TestRestore: it never overwrites, and restores parts.
func TestRestore(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.fill()
	for _, f := range []string{"a.jpg", "folder 0/b.jpg", "2024/c.jpg", "2024/deep/d.jpg", "2024/e.txt", "with [brackets]/f.txt"} {
		l.write(f, "in the vault: "+f)
	}
	l.ok("init")
	l.ok("backup")

	to := l.path("to")
	must(t, os.MkdirAll(filepath.Join(to, "2024"), 0o755))
	mine := map[string]string{"a.jpg": "mine", "2024/e.txt": "mine, too", "other": "not in the vault"}
	for p, data := range mine {
		must(t, os.WriteFile(filepath.Join(to, p), []byte(data), 0o600))
	}
	must(t, os.Chmod(to, 0o750))
	r := l.ok("restore", "-to="+to)
	if !strings.Contains(r.stdout, "left as") {
		t.Errorf("it does not say that files were left as they are: %s", r)
	}
	for p, data := range mine {
		if b, err := os.ReadFile(filepath.Join(to, p)); err != nil || string(b) != data {
			t.Errorf("%s was overwritten: %q (%v)", p, b, err)
		}
	}
	for _, p := range []string{"2024/c.jpg", "2024/deep/d.jpg", "folder 0/b.jpg"} {
		if b, err := os.ReadFile(filepath.Join(to, p)); err != nil || string(b) != "in the vault: "+p {
			t.Errorf("%s is not restored: %q (%v)", p, b, err)
		}
	}
	if fi, err := os.Stat(to); err != nil || fi.Mode().Perm() != 0o750 {
		t.Errorf("the folder that was there has the mode %v (%v)", fi.Mode(), err)
	}
	l.refused(proto.Config, []string{"restore"}, "is not empty")

	for pattern, want := range map[string]string{
		"*.jpg":       "2024/c.jpg 2024/deep/d.jpg a.jpg folder 0/b.jpg",
		"/2024/*.jpg": "2024/c.jpg",
		"/2024":       "2024/c.jpg 2024/deep/d.jpg 2024/e.txt",
		"/2024/deep/": "2024/deep/d.jpg",
		"/a.jpg":      "a.jpg",
	} {
		part := l.path("part")
		must(t, os.RemoveAll(part))
		l.ok("restore", "-to="+part, "-only="+pattern)
		var got []string
		for _, p := range filesBelow(part) {
			if fi, err := os.Lstat(p); err == nil && !fi.IsDir() {
				rel, _ := filepath.Rel(part, p)
				got = append(got, rel)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("-only=%s restores %q, not %q", pattern, got, want)
		}
	}
	must(t, os.RemoveAll(l.path("part")))
	l.refused(proto.Config, []string{"restore", "-to=" + l.path("part"), "-only=/there is none"}, "nothing in the vault matches")
	if n := filesBelow(l.path("part")); len(n) > 0 {
		t.Errorf("nothing matches, but restored is %q", n)
	}
}
