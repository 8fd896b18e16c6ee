//go:build linux

package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"fuseless/guest/mounts"
	"fuseless/magefiles/bench"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/netlab"
)

// benchTemp gives a benchmark a folder of its own for temporary files, and fails
// the test if anything is left of it: files, there or in memory, mounts,
// processes.
func benchTemp(t *testing.T) (dir string) {
	t.Helper()
	needs(t)
	dir, err := os.MkdirTemp("", "fl-")
	must(t, err)
	memory := func() []string {
		names, _ := filepath.Glob(fmt.Sprintf("/dev/shm/fuseless-bench-%d-*", os.Getpid()))
		return names
	}
	t.Cleanup(func() {
		points, err := mounts.Below(dir)
		must(t, err)
		if len(points) > 0 {
			t.Fatal("left mounted: ", points)
		}
		if left := append(filesBelow(dir), memory()...); len(left) > 0 {
			t.Error("left: ", left)
		}
		// The end of a process that was killed may take a moment.
		for end := time.Now().Add(10 * time.Second); len(processes(dir)) > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Error("left running: ", processes(dir))
				break
			}
		}
		must(t, os.RemoveAll(dir))
	})
	return dir
}

// cells are those of each row of the Markdown tables in s whose first cell
// matches.
func cells(s, first string) (rows [][]string) {
	re := regexp.MustCompile("^" + first + "$")
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "| ") {
			continue
		}
		row := strings.Split(strings.Trim(line, "|"), "|")
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		if re.MatchString(row[0]) {
			rows = append(rows, row)
		}
	}
	return rows
}

// number is the beginning of a cell.
func number(t *testing.T, cell string) (n float64) {
	t.Helper()
	if _, err := fmt.Sscan(strings.Fields(cell + " -")[0], &n); err != nil {
		t.Errorf("%q is no number", cell)
	}
	return n
}

// TestBench runs the benchmarks with few files. What they measure is not looked
// at: other tests run beside them.
func TestBench(t *testing.T) {
	t.Parallel()
	t.Run("million", benchMillion)
	t.Run("backup", benchBackup)
	t.Run("remote", benchRemote)
	t.Run("local", benchLocal)
	t.Run("write", benchWrite)
	t.Run("interrupted", benchInterrupted)
}

// Each tool backs up and restores through an sshd behind a link, and each phase
// has its row. That the restored files are the source's, Backup itself checks.
func benchBackup(t *testing.T) {
	needs(t, "restic", "borg", "sshd")
	if err := netlab.Supported(); err != nil {
		t.Skip(err)
	}
	var out bytes.Buffer
	must(t, bench.Backup(t.Context(), bench.BackupOptions{Out: &out, Files: 50, Unchanged: 1, Program: fuseless, Temp: benchTemp(t),
		Link: netlab.Link{RTT: 2 * time.Millisecond, Rate: 200_000_000}}))
	t.Log(out.String())
	for _, phase := range []string{"first", "no change", "1 % changed", "restore"} {
		rows := cells(out.String(), phase)
		if len(rows) != 4 {
			t.Fatalf("%s: %d rows", phase, len(rows))
		}
		for _, r := range rows {
			if len(r) != 6 || number(t, r[2]) <= 0 || number(t, r[3]) <= 0 {
				t.Errorf("a row without time or CPU: %v", r)
			}
			// The files are noise: they go over the link whole, once.
			there, back := number(t, r[4]), number(t, r[5])
			const whole = 4.0 // MiB
			if phase == "first" != (there > whole) || phase == "restore" != (back > whole) {
				t.Errorf("%s of %s: %.2f MiB there, %.2f back", phase, r[1], there, back)
			}
		}
	}
	for _, tool := range []string{"restic", "borg", "by hand"} {
		for _, what := range []string{"time", "CPU"} {
			rows := cells(out.String(), tool+", "+what)
			if len(rows) != 1 || len(rows[0]) != 5 || number(t, rows[0][4]) <= 0 {
				t.Errorf("the ratios to %s of %s: %v", what, tool, rows)
			}
		}
	}
}

// Each row has all that is measured.
func benchMillion(t *testing.T) {
	var out bytes.Buffer
	must(t, bench.Million(t.Context(), bench.MillionOptions{Out: &out, Sizes: []int{200, 400}, Program: fuseless, Temp: benchTemp(t)}))
	t.Log(out.String())
	rows := cells(out.String(), `\d+`)
	if len(rows) != 2 || rows[0][0] != "200" || rows[1][0] != "400" {
		t.Fatal("the rows are not those of the sizes: ", rows)
	}
	head := cells(out.String(), "files")
	for _, r := range rows {
		if len(head) != 1 || len(r) != len(head[0]) {
			t.Fatal("the row does not fit its head: ", r)
		}
		for i, cell := range r {
			if slices.Contains([]string{"dial", "rsync", "ssh", "fuseless-guest"}, head[0][i]) {
				continue // with so few files they may live between two looks
			}
			if number(t, cell) <= 0 {
				t.Errorf("%s files: %s is %s", r[0], head[0][i], cell)
			}
		}
	}
	if !strings.Contains(out.String(), "2 times as many files take ") || !strings.Contains(out.String(), "one more file takes ") {
		t.Error("it does not say how the time grows")
	}
}

// Ctrl-C in the middle of a backup, with a mount there: all goes, as benchTemp
// looks.
func benchInterrupted(t *testing.T) {
	needs(t, "sshd")
	if err := netlab.Supported(); err != nil {
		t.Skip(err)
	}
	for _, tool := range []string{"fuseless", "by hand"} {
		t.Run(tool, func(t *testing.T) {
			dir := benchTemp(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				done <- bench.Backup(ctx, bench.BackupOptions{Out: io.Discard, Tools: []string{tool}, Files: 50, Program: fuseless, Temp: dir,
					Link: netlab.Link{Rate: 1_000_000}}) // half a minute for the first backup
			}()
			sends := func() bool {
				return slices.ContainsFunc(processes(dir), func(pid int) bool { return isProgram(pid, "rsync") })
			}
			for end := time.Now().Add(patience); !sends(); time.Sleep(10 * time.Millisecond) {
				if len(done) > 0 || time.Now().After(end) {
					cancel()
					t.Fatal("rsync does not begin to send: ", <-done)
				}
			}
			if own := processes(dir); len(own) < 3 {
				t.Errorf("only %d processes are there", len(own))
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// Each reader has its row of each scene, with what it costs; that the answers are
// right, Remote itself checks.
func benchRemote(t *testing.T) {
	needs(t, "rclone", "sshd", "sshfs")
	if err := netlab.Supported(); err != nil {
		t.Skip(err)
	}
	if os.Getuid() != 0 {
		t.Skip("only root can drop the kernel's caches")
	}
	var out bytes.Buffer
	must(t, bench.Remote(t.Context(), bench.RemoteOptions{Out: &out, Size: 20, Runs: 1, Program: fuseless, Temp: benchTemp(t),
		Link: netlab.Link{RTT: 2 * time.Millisecond, Rate: 200_000_000}, Slow: netlab.Link{RTT: 4 * time.Millisecond, Rate: 200_000_000}}))
	t.Log(out.String())
	for scene, want := range map[string][]string{
		"1,000 files listed, macOS's properties":               {"fuseless", "rclone", "obvious"},
		"the same, again":                                      {"fuseless", "rclone", "obvious"},
		"1,000 files without extension listed, all properties": {"fuseless", "rclone", "obvious"},
		"walk of 21 folders with 500 files":                    {"fuseless", "rclone", "obvious"},
		"200 files of 4 KiB read in order":                     {"fuseless", "rclone", "obvious"},
		"20 names of 200 characters listed":                    {"fuseless", "obvious"},
		"128 MiB read":                                         {"fuseless", "rclone", "obvious", "ssh cat"},
		"128 MiB read, at 100 ms":                              {"fuseless", "rclone", "obvious", "ssh cat"},
	} {
		rows := cells(out.String(), regexp.QuoteMeta(scene))
		var names []string
		for _, r := range rows {
			if len(r) != 9 || number(t, r[2]) <= 0 || number(t, r[3]) <= 0 {
				t.Errorf("a row without a time or a ratio: %v", r)
				continue
			}
			names = append(names, r[1])
			// A second listing may come from a cache; all else comes over the link.
			if scene != "the same, again" && r[1] != "ssh cat" && (number(t, r[4]) <= 0 || number(t, r[5]) <= 0 || number(t, r[7]) <= 0 || number(t, r[8]) <= 0) {
				t.Errorf("nothing came from the remote, or nobody had memory: %v", r)
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s: rows of %q and not of %q", scene, names, want)
		}
	}
}

// Each server has a cell of each scene, and the file with its configuration is shown;
// that the answers are right, Local itself checks.
func benchLocal(t *testing.T) {
	needs(t, "rclone", "apt-get")
	if os.Getuid() != 0 {
		t.Skip("only root can measure apache")
	}
	guest, err := guestbin.Path(t.Context())
	must(t, err)
	dir := benchTemp(t)
	must(t, os.Chmod(dir, 0o711)) // apache is not root
	var out bytes.Buffer
	must(t, bench.Local(t.Context(), bench.LocalOptions{Out: &out, Size: 20, Runs: 1, Guest: guest, Temp: dir}))
	t.Log(out.String())
	head := cells(out.String(), "what")
	if len(head) != 1 || !slices.Equal(head[0], []string{"what", "fuseless", "obvious", "rclone", "nginx", "apache"}) {
		t.Fatal("the columns: ", head)
	}
	rows := cells(out.String(), "10,000 files .*|the same, again|10,000 times .*|1 GiB read|memory at most")
	if len(rows) != 7 {
		t.Fatalf("%d rows", len(rows))
	}
	everyCell(t, head[0], rows)
	for _, want := range []string{"fuseless-guest webdav -root", "-read-only", "rclone serve webdav", "load_module ", "dav_ext_methods", "LoadModule dav_module "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not show %q", want)
		}
	}
}

// everyCell fails unless there is a number in every cell of a table but those of the first column.
func everyCell(t *testing.T, head []string, rows [][]string) {
	t.Helper()
	for _, r := range rows {
		for i, cell := range r[1:] {
			if number(t, strings.TrimSuffix(strings.Fields(cell)[0], "/s")) <= 0 {
				t.Errorf("%s: %s has %s", r[0], head[i+1], cell)
			}
		}
	}
}

// Each writer has its row of each scene over the link, and its cell of each without; that what
// was put is there, Write itself checks.
func benchWrite(t *testing.T) {
	needs(t, "rclone", "sshd", "sshfs", "apt-get")
	if err := netlab.Supported(); err != nil {
		t.Skip(err)
	}
	if os.Getuid() != 0 {
		t.Skip("only root can drop the kernel's caches")
	}
	guest, err := guestbin.Path(t.Context())
	must(t, err)
	dir := benchTemp(t)
	must(t, os.Chmod(dir, 0o711)) // apache is not root
	var out bytes.Buffer
	must(t, bench.Write(t.Context(), bench.WriteOptions{Out: &out, Size: 20, Runs: 1, Guest: guest, Temp: dir,
		Link: netlab.Link{RTT: 2 * time.Millisecond, Rate: 200_000_000}}))
	t.Log(out.String())
	for scene, want := range map[string][]string{
		"32 MiB put": {"fuseless", "obvious", "rclone", "sftp put"},
		"50 files of 4 KiB put, one after the other": {"fuseless", "obvious", "rclone"},
	} {
		var names []string
		for _, r := range cells(out.String(), scene) {
			if len(r) != 12 {
				t.Fatalf("a row of %d cells: %v", len(r), r)
			}
			names = append(names, r[1])
			for i, head := range []string{"time", "ratio", "requests", "WRITEs", "KiB of one", "fsyncs", "round trips", "sent", "received", "memory"} {
				if syncs := r[1] == "fuseless" || r[1] == "sftp put"; head == "fsyncs" && syncs != (number(t, r[i+2]) > 0) {
					t.Errorf("%s: %s synced %s times", scene, r[1], r[i+2])
				} else if head != "fsyncs" && !(head == "memory" && r[1] == "sftp put") && number(t, r[i+2]) <= 0 {
					t.Errorf("%s: %s of %s: %q", scene, head, r[1], r[i+2])
				}
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s: rows of %q and not of %q", scene, names, want)
		}
	}
	head := cells(out.String(), "what")
	if len(head) != 2 || !slices.Equal(head[1], []string{"what", "fuseless", "obvious", "rclone", "nginx", "apache"}) {
		t.Fatal("the columns: ", head)
	}
	rows := cells(out.String(), "1 GiB put.*|10,000 times .*|memory at most")
	if len(rows) != 5 {
		t.Fatalf("%d rows", len(rows))
	}
	everyCell(t, head[1], rows)
	for _, want := range []string{"fuseless-guest webdav -root /DIR/view -listen", "gocryptfs -quiet -passfile", "put -f", "DavLockDB"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not show %q", want)
		}
	}
	if strings.Contains(out.String(), "-read-only") {
		t.Error("what is written to was started read-only")
	}
}
