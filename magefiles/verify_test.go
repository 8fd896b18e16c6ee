//go:build linux

package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// verifyLongName is a name that gocryptfs keeps in a file of its own.
var verifyLongName = strings.Repeat("long ", 40) + "name"

// encrypted finds where in the vault plaintext paths of the source lie.
func (l *lab) encrypted(plain ...string) map[string]string {
	l.t.Helper()
	mp := filepath.Join(l.mem, "image")
	must(l.t, os.Mkdir(mp, 0o700))
	m, err := gocryptfs.Start(l.t.Context(), l.source, mp, passphrase, gocryptfs.Options{Reverse: true, Socket: mp + ".sock", Log: filepath.Join(l.mem, "image.log")})
	must(l.t, err)
	names, err := gocryptfs.OpenNames(l.t.Context(), m.Socket)
	must(l.t, err)
	at := map[string]string{}
	for _, p := range plain {
		enc, err := names.Encrypt(p)
		must(l.t, err)
		at[p] = filepath.Join(l.vault, enc)
	}
	must(l.t, names.Close())
	_, err = m.Close(context.Background())
	must(l.t, err)
	must(l.t, errors.Join(os.Remove(mp), os.Remove(filepath.Join(l.mem, "image.log"))))
	return at
}

// damaged changes a file of the vault and leaves its time.
func damaged(t *testing.T, file string, change func(b []byte) []byte) {
	t.Helper()
	fi, err := os.Stat(file)
	must(t, err)
	b, err := os.ReadFile(file)
	must(t, err)
	must(t, os.Chmod(file, 0o600))
	must(t, os.WriteFile(file, change(b), 0o600))
	must(t, os.Chmod(file, fi.Mode()))
	must(t, os.Chtimes(file, fi.ModTime(), fi.ModTime()))
}

func flip(b []byte) []byte { b[len(b)/2] ^= 1; return b }

func swapped(t *testing.T, a, b string) {
	t.Helper()
	must(t, os.Rename(a, a+"~"))
	must(t, os.Rename(b, a))
	must(t, os.Rename(a+"~", b))
}

// damages are the rows of the README's table: what is done to the vault, and
// the plaintext paths of which each must be named. "old" are the versions of a
// backup before.
var damages = []struct {
	row   string
	names []string
	do    func(t *testing.T, at map[string]string, old map[string][]byte, oldTime time.Time)
}{
	{"a flipped bit in a file", []string{"a/bit"}, func(t *testing.T, at map[string]string, _ map[string][]byte, _ time.Time) {
		damaged(t, at["a/bit"], flip)
	}},
	{"a truncated file", []string{"a/cut"}, func(t *testing.T, at map[string]string, _ map[string][]byte, _ time.Time) {
		damaged(t, at["a/cut"], func(b []byte) []byte { return b[:len(b)/2] })
	}},
	{"a missing file or folder", []string{"a/gone", "b/gone"}, func(t *testing.T, at map[string]string, _ map[string][]byte, _ time.Time) {
		must(t, os.Remove(at["a/gone"]))
		must(t, os.RemoveAll(at["b/gone"]))
	}},
	{"a file that somebody put there", []string{"stray"}, func(t *testing.T, at map[string]string, _ map[string][]byte, _ time.Time) {
		must(t, os.WriteFile(filepath.Join(filepath.Dir(at["a"]), "stray"), []byte("x"), 0o600))
	}},
	{"two files swapped", []string{"a/swap 1", "a/swap 2"}, func(t *testing.T, at map[string]string, _ map[string][]byte, _ time.Time) {
		swapped(t, at["a/swap 1"], at["a/swap 2"])
	}},
	{"two files of the same size and time swapped", []string{"a/twin 1", "a/twin 2"}, func(t *testing.T, at map[string]string, _ map[string][]byte, _ time.Time) {
		swapped(t, at["a/twin 1"], at["a/twin 2"])
	}},
	{"an old version put back", []string{"a/old"}, func(t *testing.T, at map[string]string, old map[string][]byte, was time.Time) {
		must(t, os.WriteFile(at["a/old"], old["a/old"], 0o600))
		must(t, os.Chtimes(at["a/old"], was, was))
	}},
	{"an old version put back, of the same size and with the new one's time", []string{"a/old in disguise"}, func(t *testing.T, at map[string]string, old map[string][]byte, _ time.Time) {
		damaged(t, at["a/old in disguise"], func([]byte) []byte { return old["a/old in disguise"] })
	}},
	{"a symlink that leads elsewhere", []string{"a/link"}, func(t *testing.T, at map[string]string, _ map[string][]byte, _ time.Time) {
		must(t, os.Remove(at["a/link"]))
		must(t, os.Symlink("MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkw", at["a/link"]))
	}},
	{"a damaged or missing `gocryptfs.diriv`", []string{"c/iv damaged", "c/iv missing"}, func(t *testing.T, at map[string]string, _ map[string][]byte, _ time.Time) {
		damaged(t, filepath.Join(at["c/iv damaged"], "gocryptfs.diriv"), flip)
		must(t, os.Remove(filepath.Join(at["c/iv missing"], "gocryptfs.diriv")))
	}},
	{"a damaged or missing `gocryptfs.longname.*.name`", []string{"d/damaged " + verifyLongName, "d/missing " + verifyLongName}, func(t *testing.T, at map[string]string, _ map[string][]byte, _ time.Time) {
		damaged(t, at["d/damaged "+verifyLongName]+".name", flip)
		must(t, os.Remove(at["d/missing "+verifyLongName]+".name"))
	}},
	{"a damaged `gocryptfs.conf`", []string{"gocryptfs.conf"}, func(t *testing.T, at map[string]string, _ map[string][]byte, _ time.Time) {
		damaged(t, filepath.Join(filepath.Dir(at["a"]), "gocryptfs.conf"), func(b []byte) []byte { return b[:len(b)/2] })
	}},
}

// depths are the columns.
var depths = [][]string{{"verify"}, {"verify", "-data"}, {"verify", "-full"}}

// readmeDamages is the table as the README has it: what each depth finds.
func readmeDamages(t *testing.T) map[string][]bool {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	must(t, err)
	_, text, ok := strings.Cut(string(b), "\n## Is my backup good?\n")
	if !ok {
		t.Fatal("README.md has no section on verify")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	if !strings.Contains(text, "| damage | `verify` | `-data` | `-full` |\n") {
		t.Error("the columns are not the depths")
	}
	table := map[string][]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (.*) \| (found|not found) \| (found|not found) \| (found|not found) \|$`).FindAllStringSubmatch(text, -1) {
		table[m[1]] = []bool{m[2] == "found", m[3] == "found", m[4] == "found"}
	}
	return table
}

// vaultToDamage is a lab with all that damages needs, backed up twice.
func vaultToDamage(t *testing.T) (l *lab, at map[string]string, damage func(row int)) {
	l = newLab(t)
	l.fill()
	was := time.Now().Add(-48 * time.Hour)
	for _, name := range []string{"a/bit", "a/cut", "a/gone", "a/swap 1", "a/swap 2", "a/twin 1", "a/twin 2", "a/old", "a/old in disguise", "b/gone/file",
		"c/iv damaged/file", "c/iv missing/file", "d/damaged " + verifyLongName, "d/missing " + verifyLongName, "d/sub " + verifyLongName + "/file"} {
		l.write(name, strings.Repeat(fmt.Sprintf("%-20s", filepath.Base(name))[:19]+"\n", 1000))
		l.times(name, was)
	}
	l.write("a/swap 2", strings.Repeat("another size\n", 500))
	l.times("a/swap 2", was.Add(time.Hour))
	must(t, os.Symlink("target", filepath.Join(l.source, "a/link")))
	l.ok("init")
	l.ok("backup")
	at = l.encrypted("a", "a/bit", "a/cut", "a/gone", "b/gone", "a/swap 1", "a/swap 2", "a/twin 1", "a/twin 2", "a/old", "a/old in disguise", "a/link",
		"c/iv damaged", "c/iv missing", "d/damaged "+verifyLongName, "d/missing "+verifyLongName)
	old := map[string][]byte{}
	for _, name := range []string{"a/old", "a/old in disguise"} {
		b, err := os.ReadFile(at[name])
		must(t, err)
		old[name] = b
		l.write(name, strings.Repeat("of the same length!\n", 1000))
	}
	l.ok("backup")
	return l, at, func(row int) { damages[row].do(t, at, old, was) }
}

func (r result) names(path string) bool { return strings.Contains(r.stdout, ": damaged: "+path+": ") }

// TestVerifyTable is the README's table: every cell, "found" and "not found".
func TestVerifyTable(t *testing.T) {
	t.Parallel()
	l, at, damage := vaultToDamage(t)
	for _, depth := range depths {
		r := l.ok(depth...)
		if strings.Contains(r.stdout, "damaged:") || !strings.Contains(r.stdout, "no damage was found in what was checked") {
			t.Errorf("%v of a good vault: %s", depth, r)
		}
		if said, quick := strings.Contains(r.stdout, "contents were not read"), len(depth) == 1; said != quick {
			t.Errorf("%v says that contents were not read: %v", depth, said)
		}
	}
	before := snapshot(t, l.source)
	table := readmeDamages(t)
	if len(table) != len(damages) {
		t.Errorf("README.md has %d rows, not %d", len(table), len(damages))
	}
	// First what the quick one is not to find: then there is nothing else, and
	// the exit code says so.
	for i, d := range damages {
		cells, ok := table[d.row]
		if !ok {
			t.Fatalf("README.md has no row %q", d.row)
		}
		if !cells[0] {
			damage(i)
		}
	}
	if r := l.ok("verify"); !strings.Contains(r.stdout, "contents were not read") {
		t.Errorf("what was not found, is not said to be unread: %s", r)
	}
	for i, d := range damages {
		if table[d.row][0] {
			damage(i)
		}
	}
	vault := l.onRemote()
	for column, depth := range depths {
		r := l.ends(proto.Different, depth...)
		if !strings.Contains(r.stderr, "hint: ") || strings.Contains(r.stdout, "no damage") {
			t.Errorf("%v: %s", depth, r)
		}
		named := strings.Count(r.stdout, ": damaged: ")
		for _, d := range damages {
			for _, name := range d.names {
				if found := r.names(name); found != table[d.row][column] {
					t.Errorf("%v, %s: %s is found: %v, README.md says %v", depth, d.row, name, found, !found)
				} else if found {
					named--
				}
			}
		}
		// What is in a missing folder is missing, too.
		if r.names("b/gone/file") {
			named--
		}
		if named != 0 {
			t.Errorf("%v names %d entries more that are well: %s", depth, named, r)
		}
	}
	l.unchanged("verify", vault)
	same(t, "the source", before, snapshot(t, l.source))

	// What is left of a vault without its source.
	l.configureWith("")
	must(t, os.RemoveAll(l.path("home/.local")))
	l.refused(proto.Vault, []string{"verify"}, "configuration is damaged")
	conf, err := os.ReadFile(l.keyFile())
	must(t, err)
	must(t, os.WriteFile(filepath.Join(filepath.Dir(at["a"]), "gocryptfs.conf"), conf, 0o600))
	r := l.ends(proto.Different, "verify", "-data")
	for _, name := range []string{"a/bit", "c/iv damaged", "c/iv missing", "d", "a/link"} {
		if !r.names(name) {
			t.Errorf("without a source %s is not named: %s", name, r)
		}
	}
	if !strings.Contains(r.stdout, "not compared: there is no source") {
		t.Errorf("it does not say that nothing was compared: %s", r)
	}
}

// TestVerifyChanges: what the source did since the last backup, and what a
// backup leaves out by design, is no damage; but damage beside it is.
func TestVerifyChanges(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	was := time.Now().Add(-48 * time.Hour)
	l.fill()
	for _, name := range []string{"to move/deep/file", "excluded later/file", "gone with its folder/file"} {
		l.write(name, name)
		l.times(name, was)
	}
	must(t, syscall.Mkfifo(filepath.Join(l.source, "fifo"), 0o600))
	l.ok("init")
	l.ok("backup")
	at := l.encrypted("folder 2")
	must(t, os.MkdirAll(filepath.Join(at["folder 2"], ".fuseless-partial"), 0o700))
	must(t, os.WriteFile(filepath.Join(at["folder 2"], ".fuseless-partial", "part"), []byte("x"), 0o600))
	for _, depth := range depths {
		if r := l.ok(depth...); strings.Contains(r.stdout, "damaged:") || strings.Contains(r.stdout, "changed in the source") {
			t.Errorf("%v, nothing has changed: %s", depth, r)
		}
	}

	l.write("folder 0/file 0", "longer than it was before")
	l.write("folder 1/file 1", "this is FILE 1\n") // the same size
	l.write("new/file", "new")
	must(t, os.Rename(filepath.Join(l.source, "to move"), filepath.Join(l.source, "moved")))
	l.remove("folder 2/file 2")
	l.remove("gone with its folder")
	must(t, os.Symlink("x", filepath.Join(l.source, "new link")))
	l.exclude = []string{"/excluded later/"}
	l.configure()
	for _, depth := range depths {
		r := l.ok(depth...)
		if strings.Contains(r.stdout, "damaged:") || !strings.Contains(r.stdout, "changed in the source since the last backup") {
			t.Errorf("%v, all that differs has changed: %s", depth, r)
		}
	}
	gone := l.encrypted("folder 0/file 3")["folder 0/file 3"]
	must(t, os.Remove(gone))
	if r := l.ends(proto.Different, "verify"); !r.names("folder 0/file 3") || strings.Count(r.stdout, ": damaged: ") != 1 {
		t.Errorf("one file is missing among changes: %s", r)
	}
	// The hint is to be followed.
	l.ok("backup", "-checksum", "-allowDelete")
	l.ok("verify", "-full")
}

// TestVerifyConfig: a vault without its configuration, and one of another source.
func TestVerifyConfig(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	conf := filepath.Join(l.vault, gocryptfs.ConfigName)
	must(t, os.Remove(conf))
	for _, depth := range depths[:2] {
		if r := l.ends(proto.Different, depth...); !r.names("gocryptfs.conf") || strings.Count(r.stdout, ": damaged: ") != 1 {
			t.Errorf("%v: %s", depth, r)
		}
	}
	must(t, os.RemoveAll(l.vault))
	l.foreignVault(passphrase)
	l.refused(proto.Vault, []string{"verify"}, "is the vault of another source")
	must(t, os.RemoveAll(l.vault))
	l.refused(proto.Vault, []string{"verify"}, "there is no vault at")
	l.configureWith("")
	l.refused(proto.Config, []string{"verify", "-full"}, "has no source")
	l.refused(proto.Config, []string{"verify", "-data", "-share=0"}, "-share=0")
	l.refused(proto.Config, []string{"verify", "-share=5"}, "-share is for -data")
}

// TestVerifyShare: a share per run, the longest unread first, until all is read;
// what is damaged never counts as read.
func TestVerifyShare(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for i := range 10 {
		l.write(fmt.Sprintf("file %d", i), strings.Repeat("x", 100_000))
	}
	l.ok("init")
	l.ok("backup")
	read := func(code proto.Code, want, covered string) result {
		t.Helper()
		r := l.ends(code, "verify", "-data", "-share=40")
		if !strings.Contains(r.stdout, "read and authenticated: "+want+" of ") || !strings.Contains(r.stdout, covered+" of the vault was read within the last 1 day") {
			t.Errorf("not %s read and %s covered: %s", want, covered, r)
		}
		return r
	}
	read(proto.OK, "4", "40 %")
	if r := read(proto.OK, "4", "80 %"); !strings.Contains(r.stdout, "contents of 6 files were not read this time") {
		t.Errorf("it does not say what it did not read: %s", r)
	}
	l.write("file 0", "y"+strings.Repeat("x", 99_999)) // read before, and now another
	l.ok("backup")
	at := l.encrypted("file 0")
	damaged(t, at["file 0"], flip)
	r := read(proto.Different, "3", "90 %") // the two never read, the damaged one, and an old one
	if !r.names("file 0") {
		t.Errorf("a file that was read before it was damaged is not read again: %s", r)
	}
	r = read(proto.Different, "3", "90 %")
	if !r.names("file 0") {
		t.Errorf("the damaged file counts as read: %s", r)
	}
	l.ok("backup", "-checksum")
	read(proto.OK, "4", "100 %")
}

// TestVerifyBroken: a run that is interrupted, and one whose link breaks, leave
// nothing, and do not call damaged what they could not read.
func TestVerifyBroken(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	l.write("large", strings.Repeat("0123456789abcdef", 4<<20)) // 64 MiB: longer than what is done to the run
	l.ok("backup")
	for _, c := range []struct {
		name string
		do   func(c *exec.Cmd)
		code proto.Code
	}{
		{"interrupted", func(c *exec.Cmd) { must(t, c.Process.Signal(syscall.SIGINT)) }, proto.Interrupted},
		{"no link", func(*exec.Cmd) { l.server.Refuse(true); l.server.Drop() }, proto.Remote},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		cmd := l.command(ctx, "verify", "-data")
		var said, out bytes.Buffer
		cmd.Stdout = &out
		pipe, err := cmd.StderrPipe()
		must(t, err)
		must(t, cmd.Start())
		buf := make([]byte, 4096)
		for done := false; ; {
			n, err := pipe.Read(buf)
			said.Write(buf[:n])
			if !done && strings.Contains(said.String(), "reading the vault") {
				done = true
				c.do(cmd)
			}
			if err != nil {
				if err != io.EOF {
					t.Error(err)
				}
				break
			}
		}
		code := exitCode(t, cmd.Wait())
		cancel()
		if code != c.code || strings.Contains(out.String(), "damaged") || strings.Contains(out.String(), "no damage") {
			t.Errorf("%s: %d: %s%s", c.name, code, &said, &out)
		}
		l.server.Refuse(false)
		if left := lasting(l.left); len(left) > 0 {
			t.Errorf("%s leaves %q", c.name, left)
		}
	}
	l.ok("verify", "-data")
}

// TestVerifyOtherKind: what was replaced by another kind of file is damage, and
// a configuration that is lost is not excused by a change of the source's.
func TestVerifyOtherKind(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.fill()
	l.ok("init")
	l.ok("backup")
	at := l.encrypted("folder 1", "folder 2", "folder 0/file 0", "folder 0/file 3")
	for enc, by := range map[string]func(string) error{
		filepath.Join(at["folder 1"], "gocryptfs.diriv"): func(p string) error { return os.Symlink("nowhere", p) },
		filepath.Join(at["folder 2"], "gocryptfs.diriv"): func(p string) error { return os.Mkdir(p, 0o700) },
		at["folder 0/file 0"]:                            func(p string) error { return os.Symlink("nowhere", p) },
		at["folder 0/file 3"]:                            func(p string) error { return syscall.Mkfifo(p, 0o600) },
	} {
		must(t, os.Remove(enc))
		must(t, by(enc))
	}
	must(t, os.Chmod(l.keyFile(), 0o440)) // its ctime is later than the backup
	must(t, os.Remove(filepath.Join(l.vault, "gocryptfs.conf")))
	for _, depth := range depths {
		r := l.ends(proto.Different, depth...)
		for _, name := range []string{"folder 1", "folder 2", "folder 0/file 0", "folder 0/file 3", "gocryptfs.conf"} {
			if !r.names(name) {
				t.Errorf("%v does not name %s: %s", depth, name, r)
			}
		}
	}
}
