package readme_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"fuseless/guest/gocryptfs"
	"fuseless/magefiles/chain"
	"fuseless/magefiles/compare"
	"fuseless/magefiles/config"
	"fuseless/magefiles/nasty"
	"fuseless/magefiles/passphrase"
	"fuseless/magefiles/throwaway"
)

const secret = "correct horse battery staple"

// machine is what a person has who restores by hand: a terminal, an ssh that
// reaches the remote, and the passphrase. Nothing of fuseless.
type machine struct {
	dir  string
	path string // PATH
}

// TestRestoreByHand runs the README's lines, as they are, against a vault that
// the real targets made.
func TestRestoreByHand(t *testing.T) {
	v := newVault(t)
	m := newMachine(t, v.remote)
	m.run(t, marked(t, "restore-by-hand"), []string{"VAULT=" + v.destination}, prompt{"Password", secret})
	v.judge(t, filepath.Join(m.dir, "restored"))

	t.Run("trash", func(t *testing.T) {
		for _, n := range []string{"letter.txt", "letters"} {
			if err := os.RemoveAll(filepath.Join(v.source, n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.chain.Backup(t.Context(), chain.BackupOptions{}); err != nil {
			t.Fatal(err)
		}
		r := v.chain.LastResult("photos")
		if r == nil || r.Trash == "" {
			t.Fatalf("nothing went to the trash: %+v", r)
		}
		// A person who comes only now has a vault without these files.
		m := newMachine(t, v.remote)
		m.run(t, marked(t, "restore-by-hand"), []string{"VAULT=" + v.destination}, prompt{"Password", secret})
		if _, err := os.Stat(filepath.Join(m.dir, "restored", "letter.txt")); err == nil {
			t.Error("the vault still has what was deleted: this proves nothing")
		}
		out := m.run(t, marked(t, "trash-by-hand"),
			[]string{"VAULT=" + v.destination, "DATE=" + filepath.Base(r.Trash)}, prompt{"Password", secret})
		if !strings.Contains(out, filepath.Base(r.Trash)) {
			t.Errorf("the list of the trash does not name %s:\n%s", filepath.Base(r.Trash), out)
		}
		for name, want := range letters {
			got, err := os.ReadFile(filepath.Join(m.dir, "with-deleted", name))
			if err != nil || string(got) != want {
				t.Errorf("%s: got %q, %v", name, got, err)
			}
		}
	})

	t.Run("master key", func(t *testing.T) {
		conf := filepath.Join(m.dir, "vault", gocryptfs.ConfigName)
		out := m.run(t, "gocryptfs-xray -dumpmasterkey vault/gocryptfs.conf\n", nil, prompt{"Password", secret})
		lines := strings.Fields(out)
		if err := os.Remove(conf); err != nil {
			t.Fatal(err)
		}
		m.run(t, marked(t, "restore-with-master-key"), nil, prompt{"Masterkey", lines[len(lines)-1]})
		got, err := os.ReadFile(filepath.Join(m.dir, "restored-by-key", "kept.txt"))
		if err != nil || string(got) != "kept\n" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// letters are files that the trash's test deletes.
var letters = map[string]string{"letter.txt": "to be deleted\n", "letters/old/1.txt": "in a folder\n"}

type vault struct {
	source, destination string
	remote              *throwaway.Server
	chain               *chain.Chain
	tree                compare.Tree
}

// newVault makes a source with every nasty thing and backs it up to a
// throwaway remote.
func newVault(t *testing.T) *vault {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("gocryptfs needs Linux")
	}
	for _, p := range []string{"gocryptfs", "gocryptfs-xray", "rsync", "ssh", "fusermount"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("there is no /dev/fuse")
	}
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	v := &vault{source: filepath.Join(dir, "source"), destination: throwaway.Alias + ":backup/photos"}
	o := nasty.Defaults()
	o.Bulk = 1 << 20
	if _, err := nasty.Make(v.source, o); err != nil {
		t.Fatal(err)
	}
	// TempDir's own removal fails in folders without permissions.
	t.Cleanup(func() { openUp(dir) })
	for name, text := range letters {
		file := filepath.Join(v.source, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(v.source, "kept.txt"), []byte("kept\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	root := filepath.Join(dir, "remote")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	// Not t.Context(): it ends before the clean-up, which still needs the remote.
	if v.remote, err = throwaway.Start(context.Background(), root, filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.remote.Close() })
	text := fmt.Sprintf("ssh_config: %q\nvaults:\n  photos:\n    source: %q\n    destination: %s\n", v.remote.SSHConfig, v.source, v.destination)
	c, err := config.Parse(filepath.Join(dir, "fuseless.yaml"), []byte(text), []string{"HOME=" + dir})
	if err != nil {
		t.Fatal(err)
	}
	v.chain = chain.New(c, false)
	v.chain.Give("photos", passphrase.NewSecret([]byte(secret)))
	t.Cleanup(func() {
		if err := v.chain.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := v.chain.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v.tree, err = compare.Local(t.Context(), v.source); err != nil {
		t.Fatal(err)
	}
	if err := v.chain.Backup(t.Context(), chain.BackupOptions{}); err != nil {
		t.Fatal(err)
	}
	return v
}

// judge compares what was restored with the source.
func (v *vault) judge(t *testing.T, restored string) {
	t.Helper()
	got, err := compare.Local(t.Context(), restored)
	if err != nil {
		t.Fatal(err)
	}
	losses, err := compare.LoadLosses("forward")
	if err != nil {
		t.Fatal(err)
	}
	if verdict := losses.For(v.tree).Judge(compare.Compare(v.tree, got)); !verdict.OK() {
		t.Errorf("what was restored by hand is not what was backed up:\n%s", verdict)
	}
}

// newMachine has an ssh that knows the remote, as a person's own would after
// ~/.ssh was set up.
func newMachine(t *testing.T, remote *throwaway.Server) *machine {
	t.Helper()
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec %s -F '%s' \"$@\"\n", ssh, remote.SSHConfig)
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	m := &machine{dir: t.TempDir(), path: bin + ":/usr/bin:/bin"}
	t.Cleanup(func() {
		view := filepath.Join(m.dir, "view")
		_ = exec.Command("fusermount", "-u", "-z", "-q", view).Run() // after a failure it may be mounted
		openUp(m.dir)
	})
	return m
}

// prompt is a question of a program, and what a person types.
type prompt struct{ question, answer string }

// run runs lines on a terminal of their own and returns what was shown.
func (m *machine) run(t *testing.T, lines string, env []string, p prompt) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(script, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-eu", script)
	cmd.Dir = m.dir
	cmd.Env = append([]string{"PATH=" + m.path, "HOME=" + m.dir, "LC_ALL=C.UTF-8", "TERM=dumb"}, env...)
	tty, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	shown := &screen{tty: tty, prompt: p}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(shown, tty) // ends with an error when nobody has the terminal open any more
	}()
	err = cmd.Wait()
	// A daemon that kept the terminal open must not hold up the test.
	_ = tty.SetReadDeadline(time.Now().Add(time.Second))
	<-done
	tty.Close()
	if err != nil {
		t.Fatalf("the lines\n%sfailed: %v\n%s", lines, err, shown)
	}
	if !shown.answered {
		t.Errorf("%q was not asked for:\n%s", p.question, shown)
	}
	return shown.String()
}

// screen collects what is shown, and answers the prompt once.
type screen struct {
	text     bytes.Buffer // not embedded: io.Copy would use its ReadFrom
	tty      io.Writer
	prompt   prompt
	answered bool
}

func (s *screen) Write(b []byte) (int, error) {
	s.text.Write(b)
	if !s.answered && bytes.Contains(s.text.Bytes(), []byte(s.prompt.question)) {
		s.answered = true
		if _, err := io.WriteString(s.tty, s.prompt.answer+"\n"); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (s *screen) String() string { return s.text.String() }

// openUp gives every folder below dir permissions, so that it can be removed.
func openUp(dir string) {
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
}
