package rsync

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

// What rsync 3.5.0 printed on Debian 12, with the options of Argv.
const printed = "created directory /tmp/v\n" +
	"cd+++++++++ ./\n" +
	">f+++++++++ 5LawPn77G_LFVJUx-uwnSA\n" +
	"\r              2  15%    0.00kB/s    0:00:00  \r              2  15%    1.50MB/s    0:01:05 (xfr#1, to-chk=2/4)\n" +
	"hf+++++++++ b => 5LawPn77G_LFVJUx-uwnSA\n" +
	"cL+++++++++ link -> k7DRD64huFRCtvl5f0bXmNEU3t80AL2nBfvilJbMd4dsIfuS6w\n" +
	".d..t...... XXaxKOsSqKZ7MmCaL4JBxg/\n" +
	"*deleting   gone/c\n" +
	"*deleting   gone/\n" +
	"\n" +
	"Number of files: 1,004 (reg: 950, dir: 50, link: 4)\n" +
	"Number of created files: 6 (reg: 4, dir: 2)\n" +
	"Number of deleted files: 2 (reg: 1, dir: 1)\n" +
	"Number of regular files transferred: 3\n" +
	"Total file size: 3024063 bytes\n" +
	"Total transferred file size: 6 bytes\n" +
	"Literal data: 3000 bytes\n" +
	"Matched data: 17 bytes\n" +
	"File list size: 0\n" +
	"Total bytes sent: 298\n" +
	"Total bytes received: 90\n" +
	"\n" +
	"sent 298 bytes  received 90 bytes  776.00 bytes/sec\n" +
	"total size is 8  speedup is 0.02"

func parse(t *testing.T, run *Run, chunk int) Stats {
	t.Helper()
	var s Stats
	var kept int64
	p := &parser{run: run, stats: &s, kept: &kept}
	for b := []byte(printed); len(b) > 0; {
		n := min(chunk, len(b))
		if _, err := p.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	p.flush()
	return s
}

func TestParse(t *testing.T) {
	for _, chunk := range []int{1, 7, len(printed)} {
		var changes []string
		var last proto.Progress
		run := &Run{
			OnChange:   func(what, path string) { changes = append(changes, what+" "+path) },
			OnProgress: func(p proto.Progress) { last = p },
		}
		got := parse(t, run, chunk)
		want := Stats{
			Files: 1004, Dirs: 50, Created: 6, Deleted: 2, Transferred: 3, Size: 3024063,
			Literal: 3000, Matched: 17, Sent: 298, Received: 90,
		}
		if got != want {
			t.Errorf("chunks of %d: statistics\n got %+v\nwant %+v", chunk, got, want)
		}
		wantChanges := []string{
			"cd+++++++++ ./", ">f+++++++++ 5LawPn77G_LFVJUx-uwnSA", "hf+++++++++ b",
			"cL+++++++++ link", ".d..t...... XXaxKOsSqKZ7MmCaL4JBxg/", "*deleting gone/c", "*deleting gone/",
		}
		if !slices.Equal(changes, wantChanges) {
			t.Errorf("chunks of %d: changes\n got %q\nwant %q", chunk, changes, wantChanges)
		}
		if want := (proto.Progress{Bytes: 2, Percent: 15, Rate: 1.5 * (1 << 20), Left: 65, Files: 1}); last != want {
			t.Errorf("chunks of %d: progress\n got %+v\nwant %+v", chunk, last, want)
		}
	}
}

// A folder in the way of a file is the only error that does not make a run
// incomplete: the deletion pass makes room for the file.
func TestClean(t *testing.T) {
	conflict := "cannot delete non-empty directory: d\n" +
		"could not make way for new regular file: d\n" +
		"Deletions stopped due to --max-delete limit (2 skipped)\n" +
		"rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1394) [sender=3.5.0]\n"
	for _, c := range []struct {
		name, stderr string
		code         int
		want         bool
	}{
		{"nothing", "", 0, true},
		{"conflicts alone", conflict, ExitPartial, true},
		{"many conflicts", strings.Repeat("could not make way for new symlink: x\n", 3*maxErrors), ExitPartial, true},
		{"an unreadable folder among them", conflict + `rsync: [sender] opendir "/x" failed: Permission denied (13)` + "\n", ExitPartial, false},
		{"a code without a reason", "", ExitPartial, false},
		{"vanished", "", ExitVanished, false},
		{"deletions stopped", "", ExitMaxDelete, true},
	} {
		var m messages
		_, _ = m.Write([]byte(c.stderr))
		m.end()
		res := &Result{Code: c.code, Errors: m.errors, Conflicts: m.conflicts, Skipped: m.skipped}
		if res.Clean() != c.want {
			t.Errorf("%s: clean is %v", c.name, res.Clean())
		}
	}
}

// The messages that Clean looks for, from the rsync that is installed.
func TestConflictMessages(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	write := func(p string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(p), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(src, "d"))
	write(filepath.Join(dst, "d", "child"))
	write(filepath.Join(dst, "gone", "child"))
	res, err := Run{Source: src + "/", Target: dst + "/", Delete: true, Force: true}.Do(t.Context())
	if err != nil && strings.Contains(err.Error(), "cannot run rsync") {
		t.Skip("rsync is not installed")
	}
	if err != nil {
		t.Fatal(err)
	}
	if !res.Clean() || !slices.Equal(res.Conflicts, []string{"d"}) || !res.Skipped {
		t.Errorf("got conflicts %q, clean %v, skipped %v; messages: %q", res.Conflicts, res.Clean(), res.Skipped, res.Errors)
	}
	for _, p := range []string{"d/child", "gone/child"} {
		if _, err := os.Stat(filepath.Join(dst, p)); err != nil {
			t.Errorf("--max-delete=0 deleted %s", p)
		}
	}
}
