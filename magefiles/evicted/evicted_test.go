package evicted

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

// tree makes files below a new folder: name to size; a name with a slash at its
// end is a folder.
func tree(t *testing.T, files map[string]int) string {
	t.Helper()
	dir := t.TempDir()
	for name, size := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(p, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(p, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// mac is the lstat of a Mac on which the named files and folders are evicted.
// It fails for what must not be looked at.
func mac(t *testing.T, source string, evicted []string, forbidden ...string) Lstat {
	return func(p string) (Stat, error) {
		fi, err := os.Lstat(p)
		if err != nil {
			return Stat{}, err
		}
		root, _ := filepath.EvalSymlinks(source)
		rel, err := filepath.Rel(root, p)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(forbidden, rel) {
			t.Errorf("looked at %s", rel)
		}
		st := Stat{Flags: 0x20 | 0x8000, Size: fi.Size()} // UF_COMPRESSED, UF_HIDDEN: other flags
		if slices.Contains(evicted, rel) {
			st.Flags |= 0x40000000
		}
		return st, nil
	}
}

func TestCount(t *testing.T) {
	dir := tree(t, map[string]int{
		"here": 10, "a/gone": 1000, "a/here": 5, "b/gone": 24, "cloud/never-listed": 7, "b/tmp/gone": 1 << 20,
	})
	if err := os.Symlink("a/gone", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	lstat := mac(t, dir, []string{"a/gone", "b/gone", "cloud", "b/tmp/gone"}, "cloud/never-listed", "link")

	f, err := Count(t.Context(), dir, nil, lstat)
	if err != nil {
		t.Fatal(err)
	}
	if f.Files != 3 || f.Folders != 1 || f.Bytes != 1000+24+1<<20 {
		t.Errorf("found %+v", f)
	}
	if want := []string{"a/gone", "b/gone", "b/tmp/gone", "cloud"}; !slices.Equal(f.Examples, want) {
		t.Errorf("examples %q, want %q", f.Examples, want)
	}

	// By way of a symlink, and without what the backup leaves out.
	link := filepath.Join(t.TempDir(), "source")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	f, err = Count(t.Context(), link, []string{"tmp", "/cloud"}, mac(t, link, []string{"a/gone", "b/gone", "b/tmp/gone"}, "b/tmp", "cloud"))
	if err != nil || f.Files != 2 || f.Folders != 0 || f.Bytes != 1024 {
		t.Errorf("found %+v, %v", f, err)
	}
	// gocryptfs hides a folder that is excluded, with whatever is in it.
	f, err = Count(t.Context(), dir, []string{"b", "!b/gone", "cloud"}, lstat)
	if err != nil || f.Files != 1 || f.Examples[0] != "a/gone" {
		t.Errorf("found %+v, %v", f, err)
	}
}

func TestCheckStopsTheBackup(t *testing.T) {
	dir := tree(t, map[string]int{"1": 1, "2": 1, "3": 1, "4": 1, "5\x1b[2J": 1, "6": 1, "here": 1})
	lstat := mac(t, dir, []string{"1", "2", "3", "4", "5\x1b[2J", "6"})
	err := check(t.Context(), dir, nil, lstat)
	var e *proto.Error
	if !errors.As(err, &e) || e.Code != proto.Source {
		t.Fatalf("error %v", err)
	}
	for _, s := range []string{"6 files with 6 B", dir, `"5\x1b[2J"`, "and 1 more"} {
		if !strings.Contains(e.Message, s) {
			t.Errorf("no %q in %q", s, e.Message)
		}
	}
	if strings.Contains(e.Message, "here") {
		t.Errorf("it names a file that is here: %q", e.Message)
	}
	for _, s := range []string{"brctl download " + dir, "Download Now", "exclude"} {
		if !strings.Contains(e.Hint, s) {
			t.Errorf("no %q in the hint %q", s, e.Hint)
		}
	}

	// One alone is named in the command, quoted for a shell.
	one := tree(t, map[string]int{"my file": 1})
	err = check(t.Context(), one, nil, mac(t, one, []string{"my file"}))
	if !errors.As(err, &e) || !strings.Contains(e.Hint, "brctl download '"+filepath.Join(one, "my file")+"'") {
		t.Errorf("error %v", err)
	}
	// What is left out does not stop it.
	if err := check(t.Context(), one, []string{"my*"}, mac(t, one, []string{"my file"})); err != nil {
		t.Errorf("error %v", err)
	}
}

func TestNothingEvicted(t *testing.T) {
	dir := tree(t, map[string]int{"a": 1, "b/c": 1})
	if err := check(t.Context(), dir, nil, mac(t, dir, nil)); err != nil {
		t.Error(err)
	}
	if err := Check(t.Context(), dir); err != nil {
		t.Error(err)
	}
	err := check(t.Context(), filepath.Join(dir, "missing"), nil, mac(t, dir, nil))
	if proto.CodeOf(err) != proto.Source {
		t.Errorf("error %v", err)
	}
}
