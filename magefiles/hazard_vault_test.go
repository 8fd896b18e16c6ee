//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
)

// foreignVault makes, with stock gocryptfs and rsync, the vault of a source of
// its own in the vault's place.
func (l *lab) foreignVault(pass string) {
	l.t.Helper()
	source, passFile, image := filepath.Join(l.mem, "foreign"), filepath.Join(l.mem, "foreign.pass"), filepath.Join(l.mem, "image")
	for _, dir := range []string{source, image} {
		must(l.t, os.Mkdir(dir, 0o700))
	}
	must(l.t, os.WriteFile(passFile, []byte(pass+"\n"), 0o600))
	for i := range 10 {
		must(l.t, os.WriteFile(filepath.Join(source, fmt.Sprintf("letter %d", i)), []byte("dear reader"), 0o600))
	}
	l.stockInit(source, passFile)
	for _, argv := range [][]string{
		{"gocryptfs", "-q", "-ro", "-reverse", "-passfile", passFile, "--", source, image},
		{"rsync", "-a", image + "/", l.vault},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			l.t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	unmount(l.t, image)
	for _, p := range []string{source, image, passFile} {
		must(l.t, os.RemoveAll(p))
	}
}

// TestAnotherVaultAtKnownPlace: what was this source's vault yesterday is
// looked at again today.
func TestAnotherVaultAtKnownPlace(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	aside := filepath.Join(l.remote, "aside")
	must(t, os.Rename(l.vault, aside))
	l.write("folder 0/new", "new")
	for _, pass := range []string{passphrase, "quite another"} {
		l.foreignVault(pass)
		before := l.onRemote()
		l.refused(proto.Vault, []string{"backup"}, "is the vault of another source")
		l.refused(proto.Vault, []string{"backup", "-allowDelete", "-checksum"}, "is the vault of another source")
		l.unchanged("refused", before)
		must(t, os.RemoveAll(l.vault))
	}
	before := l.onRemote()
	l.refused(proto.Vault, []string{"backup"}, "the vault is no longer at", "is its disk mounted?")
	l.refused(proto.Vault, []string{"backup", "-dryRun"}, "the vault is no longer at")
	l.unchanged("gone", before)
	must(t, os.Rename(aside, l.vault))
	l.ok("backup")
	l.sameAsSource()
}

// anotherMachine forgets what this one knows of the vault, and has a source of
// another name.
func (l *lab) anotherMachine() {
	l.t.Helper()
	must(l.t, os.RemoveAll(l.home))
	must(l.t, os.Mkdir(l.home, 0o700))
	l.source = l.path("second")
	must(l.t, os.MkdirAll(l.source, 0o700))
	l.configure()
}

// TestAdoptForeignVault: a vault's configuration that was taken from the vault
// itself is no proof that the source belongs to it. The names are.
func TestAdoptForeignVault(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	before := l.onRemote()
	l.anotherMachine()
	for i := range 10 {
		l.write(fmt.Sprintf("letter %d", i), "dear reader")
	}
	l.ok("init")
	l.refused(proto.Vault, []string{"backup"}, "is the vault of another source")
	l.refused(proto.Vault, []string{"backup", "-allowDelete"}, "is the vault of another source")
	l.refused(proto.Vault, []string{"backup", "-dryRun"}, "is the vault of another source")
	l.unchanged("refused", before)

	// On a terminal it is asked before.
	must(t, os.Remove(l.keyFile()))
	must(t, os.RemoveAll(filepath.Join(l.home, ".local")))
	const question = "There is a vault at"
	for _, target := range []string{"init", "backup"} {
		shown, code := l.talk([]line{{question: question, answer: "n"}}, target)
		if code != proto.Vault || !strings.Contains(shown, "was not wanted") {
			t.Errorf("%s, n: %d %s", target, code, shown)
		}
		gone(t, l.keyFile())
	}
	if shown, code := l.talk([]line{{question: question, answer: "y"}}, "init"); code != proto.OK {
		t.Errorf("y: %d %s", code, shown)
	}
	l.refused(proto.Vault, []string{"backup"}, "is the vault of another source")
	l.unchanged("refused", before)
}

// TestAdoptOwnVault: a copy of the source on a new machine goes on with the
// vault, and sends what differs.
func TestAdoptOwnVault(t *testing.T) {
	t.Parallel()
	l := newLab(t).started()
	was := l.source
	before := l.onRemote()
	l.anotherMachine()
	if out, err := exec.Command("rsync", "-a", "--exclude="+gocryptfs.ReverseConfigName, was+"/", l.source).CombinedOutput(); err != nil {
		t.Fatalf("rsync: %v: %s", err, out)
	}
	l.ok("init")
	l.ok("backup")
	if r := l.last(); r.Created != 0 || r.Literal != 0 || r.Deleted != 0 || r.Held != 0 {
		t.Errorf("a copy has something to send: %+v", r)
	}
	l.kept("adopted", before)
	l.write("folder 0/new", "new")
	l.ok("backup")
	if r := l.last(); r.Created != 1 || r.Deleted != 0 {
		t.Errorf("one file is new: %+v", r)
	}
	l.sameAsSource()
}

// TestTrashCannotBe: where nothing can be moved to the trash, the first backup
// says so, and not the first one that deletes.
func TestTrashCannotBe(t *testing.T) {
	t.Parallel()
	const says, hint = "the trash beside the vault", "use a folder inside as destination"
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	for name, lab := range map[string]func(*testing.T) *lab{"remote": newLab, "local": localLab} {
		t.Run("root of a file system/"+name, func(t *testing.T) {
			l := lab(t)
			l.fill()
			must(t, os.MkdirAll(l.vault, 0o700))
			must(t, syscall.Mount("fuseless-test", l.vault, "tmpfs", 0, "size=16m"))
			t.Cleanup(func() { unmount(t, l.vault) })
			l.ok("init")
			for range 2 {
				l.refused(proto.Vault, []string{"backup"}, says, hint)
				for _, p := range filesBelow(l.vault) {
					if filepath.Base(p) != gocryptfs.ConfigName {
						t.Errorf("%s was sent", p)
					}
				}
				if left := filesBelow(l.trash); len(left) > 0 {
					t.Errorf("in the trash: %q", left)
				}
			}
		})
	}
	t.Run("parent not writable", func(t *testing.T) {
		l := localLab(t)
		l.fill()
		must(t, os.Mkdir(l.vault, 0o700))
		l.asUser()
		must(t, os.Chown(filepath.Dir(l.vault), 0, 0))
		must(t, os.Chmod(filepath.Dir(l.vault), 0o755))
		l.ok("init")
		for range 2 {
			l.refused(proto.Vault, []string{"backup"}, says, hint)
			gone(t, l.trash)
		}
		l.configureLocal(filepath.Join(l.vault, "vault"))
		if err := os.Remove(filepath.Join(l.vault, gocryptfs.ConfigName)); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		l.ok("backup") // what the hint says
	})
}

// TestDestinationSymlink: the trash would lie beside the link, or beside what
// it leads to.
func TestDestinationSymlink(t *testing.T) {
	t.Parallel()
	for name, lab := range map[string]func(*testing.T) *lab{"remote": newLab, "local": localLab} {
		t.Run(name, func(t *testing.T) {
			l := lab(t)
			l.fill()
			must(t, os.MkdirAll(filepath.Join(l.remote, "elsewhere"), 0o700))
			must(t, os.MkdirAll(filepath.Dir(l.vault), 0o700))
			must(t, os.Symlink(filepath.Join(l.remote, "elsewhere"), l.vault))
			l.stockInit(l.source, l.passFile())
			before := l.onRemote()
			l.refused(proto.Config, []string{"backup"}, "is a symlink", "write where it leads to")
			l.unchanged("refused", before)
		})
	}
}

// TestEmptyConfigLeft: what a full disk leaves of a first backup does not block
// the next try.
func TestEmptyConfigLeft(t *testing.T) {
	t.Parallel()
	for name, lab := range map[string]func(*testing.T) *lab{"remote": newLab, "local": localLab} {
		t.Run(name, func(t *testing.T) {
			l := lab(t)
			must(t, os.MkdirAll(l.vault, 0o700))
			must(t, os.WriteFile(filepath.Join(l.vault, gocryptfs.ConfigName), nil, 0o600))
			l.started()
			l.sameAsSource()
		})
	}
}

// TestInsideEachOther: by way of a symlink, source and destination can be
// inside each other though their names are not.
func TestInsideEachOther(t *testing.T) {
	t.Parallel()
	const says = "lie inside each other"
	t.Run("the vault in the source", func(t *testing.T) {
		l := localLab(t)
		l.fill()
		must(t, os.Symlink(l.source, l.path("link")))
		l.stockInit(l.source, l.passFile())
		before := snapshot(t, l.source)
		for _, vault := range []string{"link/vault", "link/folder 1/vault", "link"} {
			l.configureLocal(filepath.Join(l.dir, vault))
			l.refused(proto.Config, []string{"backup"}, says)
		}
		same(t, "the source", before, snapshot(t, l.source))
	})
	t.Run("the source in the vault", func(t *testing.T) {
		l := localLab(t)
		in := filepath.Join(l.vault, "in")
		must(t, os.MkdirAll(in, 0o700))
		l.source = l.path("link")
		must(t, os.Symlink(in, l.source))
		l.fill()
		l.configureLocal(l.vault)
		l.stockInit(in, l.passFile())
		before := l.onRemote()
		l.refused(proto.Config, []string{"backup"}, says)
		l.unchanged("refused", before)
	})
}
