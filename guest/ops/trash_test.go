//go:build linux

package ops

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/store"
)

// aged gives the folders of a trash the times that their names say.
func aged(t *testing.T, trash string) {
	t.Helper()
	entries, err := os.ReadDir(trash)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, at, ok := proto.TrashStamp(e.Name()); ok {
			if err := os.Chtimes(filepath.Join(trash, e.Name()), at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// pruned lets a backup that begins at begun, by a clock that is off by shift, prune a
// trash after another one that ended at last. It returns what is left, and what
// was said.
func pruned(t *testing.T, begun, last time.Time, shift time.Duration, trash string) (left []string, said string) {
	t.Helper()
	now = func() time.Time { return time.Now().Add(shift) }
	defer func() { now = time.Now }()
	var events bytes.Buffer
	r := &run{emit: proto.NewEmitter(&events), Request: &proto.Request{
		Destination: proto.Destination{Local: true, Trash: trash},
		Backup:      proto.BackupOptions{KeepDays: 30, Known: true, LastSuccess: last},
	}}
	b := &backup{run: r, started: begun, stamp: stampOf(begun), result: proto.BackupResult{Transferred: 1}}
	if err := b.prune(context.Background()); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(trash)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	return left, events.String()
}

// TestPruneByAge: only what is due goes, and only by a clock that can be right.
func TestPruneByAge(t *testing.T) {
	begun := time.Now()
	at := func(days int, more time.Duration) string { return stampOf(begun.AddDate(0, 0, -days).Add(more)) }
	old, later, foreign := at(31, 0), at(31, 0)+"-2", at(31, 0)+"-kept"
	edge, young := at(30, time.Minute), at(1, 0)
	all := []string{old, later, foreign, edge, young, "2019", "mine", "20260101T000000"}
	slices.Sort(all)
	rest := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == old || n == later })
	const day = 24 * time.Hour
	for _, c := range []struct {
		name  string
		shift time.Duration // of our clock
		last  time.Time
		more  string // in the trash
		want  []string
		says  string
	}{
		{name: "daily", last: begun.AddDate(0, 0, -1), want: rest, says: `"prune"`},
		{name: "after a long pause", last: begun.AddDate(0, 0, -31), want: all},
		{name: "it was not due at the last backup", last: begun.AddDate(0, 0, -2), want: all},
		{name: "the clock was set ahead", shift: 5 * 365 * day, last: begun.AddDate(0, 0, -1), want: all},
		{name: "the clock was set back", shift: -3 * day, last: begun.AddDate(0, 0, -4), want: all, says: young},
		{name: "the clock was ahead once", last: begun.AddDate(0, 0, -1), more: "20990101T000000000Z", want: append(slices.Clone(all), "20990101T000000000Z"), says: "20990101T000000000Z"},
		{name: "a date that is none", last: begun.AddDate(0, 0, -1), more: "20261399T000000Z", want: append(slices.Clone(rest), "20261399T000000Z")},
		{name: "what was being removed", last: begun.AddDate(0, 0, -1), more: gonePrefix + young, want: rest},
	} {
		t.Run(c.name, func(t *testing.T) {
			trash := t.TempDir()
			for _, n := range append(slices.Clone(all), c.more) {
				if n == "" {
					continue
				}
				if err := os.MkdirAll(filepath.Join(trash, n, "a", "b"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			aged(t, trash)
			left, said := pruned(t, begun.Add(c.shift), c.last, c.shift, trash)
			want := slices.Clone(c.want)
			slices.Sort(want)
			if !slices.Equal(left, want) {
				t.Errorf("left %q, want %q", left, want)
			}
			if !strings.Contains(said, c.says) {
				t.Errorf("it does not say %q: %s", c.says, said)
			}
		})
	}
}

// TestPruneByTwoClocks: whichever of our clock and the vault's is wrong, now or
// when an entry was made, nothing is removed before its time.
func TestPruneByTwoClocks(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name        string
		age         time.Duration // of the entry, truly
		then        time.Duration // by how much our clock was ahead when it was made
		theirs      time.Duration // by how much the vault's was
		shift       time.Duration // by how much ours is now
		jumped      time.Duration // of it, since the backup began
		gone        bool
		says, never string
	}{
		{name: "both are right", age: 31 * day, gone: true, says: `"prune"`, never: "clock"},
		{name: "both are right, and it is young", age: 29 * day, never: "clock"},
		{name: "ours is ahead", age: 28 * day, shift: 3 * day, says: "this machine's clock is 3 days ahead of that of the remote"},
		{name: "ours is ahead, and it is old", age: 31 * day, shift: 3 * day, says: "3 days ahead"},
		{name: "ours is behind", age: 40 * day, shift: -3 * day, says: "this machine's clock is 3 days behind that of the remote"},
		{name: "ours is a little ahead", age: 29*day + 12*time.Hour, shift: 20 * time.Hour, never: "clock"},
		{name: "ours is a little ahead, and it is old", age: 31 * day, shift: 20 * time.Hour, gone: true, never: "clock"},
		{name: "ours was ahead", age: 31 * day, then: 3 * day, never: "clock"},
		{name: "ours was behind", age: 28 * day, then: -3 * day, never: "clock"},
		{name: "theirs was behind", age: 28 * day, theirs: -3 * day, never: "clock"},
		{name: "theirs was ahead", age: 31 * day, theirs: 3 * day, never: "clock"},
		{name: "ours jumps ahead meanwhile", age: 28 * day, shift: 3 * day, jumped: 3 * day, never: "prune"},
		{name: "ours jumps ahead meanwhile, and it is old", age: 31 * day, shift: 3 * day, jumped: 3 * day, says: "3 days ahead"},
		{name: "ours jumps back meanwhile", age: 31 * day, shift: -time.Hour, jumped: -time.Hour, gone: true, never: "clock"},
	} {
		t.Run(c.name, func(t *testing.T) {
			trash, real := t.TempDir(), time.Now()
			entry := filepath.Join(trash, stampOf(real.Add(c.then-c.age)))
			if err := os.MkdirAll(filepath.Join(entry, "a"), 0o700); err != nil {
				t.Fatal(err)
			}
			m := real.Add(c.theirs - c.age)
			if err := os.Chtimes(entry, m, m); err != nil {
				t.Fatal(err)
			}
			// Hourly, so that the time of the last backup is no evidence.
			begun := real.Add(c.shift - c.jumped)
			left, said := pruned(t, begun, begun.Add(-time.Hour), c.shift, trash)
			if (len(left) == 0) != c.gone {
				t.Errorf("left: %q", left)
			}
			if !strings.Contains(said, c.says) || c.never != "" && strings.Contains(said, c.never) {
				t.Errorf("it is to say %q and not %q: %s", c.says, c.never, said)
			}
		})
	}
}

// TestPruneAfterLongRun: what a run that took longer than the trash is kept moved
// there at its end is not removed by the next one; nor is anything changed by a
// short run.
func TestPruneAfterLongRun(t *testing.T) {
	for name, took := range map[string]time.Duration{"long": 31 * 24 * time.Hour, "short": time.Hour} {
		t.Run(name, func(t *testing.T) {
			trash, end := t.TempDir(), time.Now()
			begun := end.Add(-took)
			other := stampOf(end.AddDate(0, 0, -40))
			for _, n := range []string{stampOf(begun), stampOf(begun) + "-2", other} {
				if err := os.MkdirAll(filepath.Join(trash, n, "a"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			aged(t, trash)
			r := &run{emit: proto.NewEmitter(io.Discard), Request: &proto.Request{Destination: proto.Destination{Local: true, Trash: trash}}}
			if err := (&backup{run: r, started: begun, stamp: stampOf(begun)}).refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			fi, err := os.Stat(filepath.Join(trash, stampOf(begun)+"-2"))
			if err != nil {
				t.Fatal(err)
			}
			if fresh := end.Sub(fi.ModTime()) < time.Minute; fresh != (name == "long") {
				t.Errorf("the time of what it put there is %v", fi.ModTime())
			}
			if left, _ := pruned(t, end.Add(time.Hour), end, time.Hour, trash); len(left) != 2 || slices.Contains(left, other) {
				t.Errorf("the next run leaves %q", left)
			}
			if entries, err := os.ReadDir(filepath.Join(trash, stampOf(begun))); err != nil || len(entries) != 1 {
				t.Errorf("in what it put there is more now: %v, %v", entries, err)
			}
		})
	}
}

// TestPruneWhatIsLocked: a vault has the modes of the source, and on most
// remotes they bind. Who may not be listed is removed all the same, and links
// lead nowhere.
func TestPruneWhatIsLocked(t *testing.T) {
	if againAsNobody(t) {
		return
	}
	trash, outside := t.TempDir(), t.TempDir()
	begun := time.Now()
	old := filepath.Join(trash, stampOf(begun.AddDate(0, 0, -40)))
	older := filepath.Join(trash, stampOf(begun.AddDate(0, 0, -41)))
	for _, dir := range []string{filepath.Join(old, "none", "below"), filepath.Join(old, "read-only", "below"), older} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(outside, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(old, "link")); err != nil {
		t.Fatal(err)
	}
	for dir, mode := range map[string]os.FileMode{"none/below": 0, "none": 0, "read-only/below": 0o500, "read-only": 0o500} {
		if err := os.Chmod(filepath.Join(old, dir), mode); err != nil && mode != 0 {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(older, 0); err != nil {
		t.Fatal(err)
	}
	aged(t, trash)
	if left, said := pruned(t, begun, begun, 0, trash); len(left) > 0 {
		t.Errorf("left %q: %s", left, said)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

// againAsNobody runs the test again in a process without root's rights, for which
// modes bind. It returns true in the process that has nothing left to do.
func againAsNobody(t *testing.T) bool {
	t.Helper()
	if os.Getuid() != 0 {
		return false
	}
	dir, err := os.MkdirTemp("", "ops-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	bin, tmp := filepath.Join(dir, "ops.test"), filepath.Join(dir, "tmp") // go test's own folder is closed to others
	for _, err := range []error{os.WriteFile(bin, self, 0o755), os.Mkdir(tmp, 0o700), os.Chown(tmp, 65534, 65534), os.Chmod(dir, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(bin, "-test.run=^"+t.Name()+"$", "-test.v")
	c.Dir, c.Env = tmp, []string{"TMPDIR=" + tmp, "HOME=" + tmp}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
	return true
}

// TestTrashRuns: the passes of a run are one entry, in their order.
func TestTrashRuns(t *testing.T) {
	trash := t.TempDir()
	for _, n := range []string{
		"20261120T031700123Z-10", "20261120T031700123Z-2", "20261120T031700123Z", "20261121T031700Z-2", "20260101T000000Z", "other", ".fuseless-probe-x",
	} {
		if err := os.Mkdir(filepath.Join(trash, n), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(trash, "20251120T031700123Z"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	d := proto.Destination{Local: true, Trash: trash}
	st, err := store.Open(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	res, probes, err := trashRuns(st, d, now)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range res.Runs {
		got = append(got, r.Name+": "+strings.Join(r.Folders, " "))
	}
	want := []string{
		"20260101T000000Z: 20260101T000000Z",
		"20261120T031700123Z: 20261120T031700123Z 20261120T031700123Z-2 20261120T031700123Z-10",
		"20261121T031700Z: 20261121T031700Z-2",
	}
	if !slices.Equal(got, want) || res.Foreign != 2 || len(probes) != 1 || res.Ahead != "" {
		t.Errorf("got %q, foreign %d, probes %q, ahead %q", got, res.Foreign, probes, res.Ahead)
	}
	for i := range res.Runs {
		res.Runs[i].Files = 1
	}
	pick := func(text string) ([]string, error) {
		p, err := proto.ParseTrashPick(text, time.FixedZone("", -5*3600))
		if err != nil {
			return nil, err
		}
		return p.Folders(res.Runs)
	}
	for text, want := range map[string]string{
		"20260101T000000Z": "20260101T000000Z", "2025-12": "20260101T000000Z", "2025-12-31T19:00:00": "20260101T000000Z",
		"2026-11-20": "20261121T031700Z-2", "2026-11-19 22": "20261120T031700123Z 20261120T031700123Z-2 20261120T031700123Z-10",
		"20261120T031700123Z-2": "20261120T031700123Z-2", "20261121T031700Z": "20261121T031700Z-2",
		"2026-11": "", "2026-01-01": "", "20261120T031700123Z-3": "", "20261120": "", "": "", "../x": "",
	} {
		got, err := pick(text)
		if strings.Join(got, " ") != want || (err == nil) != (want != "") || err != nil && proto.CodeOf(err) != proto.Config {
			t.Errorf("%q means %q (%v), want %q", text, got, err, want)
		}
	}
}

// TestDirIV compares the directory IVs that we compute with what gocryptfs
// serves.
func TestDirIV(t *testing.T) {
	if _, err := exec.LookPath("gocryptfs"); err != nil {
		t.Skip("gocryptfs is not installed")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("there is no /dev/fuse")
	}
	ctx, tmp := context.Background(), t.TempDir()
	source, image := filepath.Join(tmp, "source"), filepath.Join(tmp, "image")
	if err := os.MkdirAll(filepath.Join(source, "a", "b", strings.Repeat("long", 60), "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf, err := gocryptfs.Init(ctx, tmp, true, "passphrase")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, gocryptfs.ReverseConfigName), conf, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(image, 0o700); err != nil {
		t.Fatal(err)
	}
	m, err := gocryptfs.Start(ctx, source, image, "passphrase", gocryptfs.Options{Reverse: true, Log: filepath.Join(tmp, "log")})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(ctx)
	seen := 0
	err = filepath.WalkDir(image, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		f, err := os.Open(filepath.Join(p, "gocryptfs.diriv"))
		if err != nil {
			return err
		}
		defer f.Close()
		iv, err := io.ReadAll(f)
		rel, _ := filepath.Rel(image, p)
		if rel == "." {
			rel = ""
		}
		if seen++; !bytes.Equal(iv, dirIV(rel)) {
			t.Errorf("%q: %x, gocryptfs has %x", rel, dirIV(rel), iv)
		}
		return err
	})
	if err != nil || seen != 5 {
		t.Errorf("%d folders: %v", seen, err)
	}
}
