package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"fuseless/guest/proto"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/throwaway"
)

// perFolder is how many files a folder of the generated source has, and fileSize
// how many bytes a file.
const (
	perFolder = 100
	fileSize  = 64
)

// millionSecret is the passphrase of a vault that holds nothing.
const millionSecret = "a passphrase for a benchmark"

// Million measures, for each number of small files in sizes, a first backup and
// one without a change, against a throwaway remote on loopback, and prints a
// table in Markdown: time, time per file, and the peak of resident memory, of
// all processes of this side together and of each program. It needs Linux,
// `guest: local` and about 9 kB of disk a file below the folder for temporary
// files. What it makes it removes again.
func Million(ctx context.Context, out io.Writer, sizes []int) (err error) {
	if runtime.GOOS != "linux" {
		return proto.Errorf(proto.Prerequisite, "the benchmark reads /proc, so it needs Linux")
	}
	bin, err := os.MkdirTemp("", "fuseless-bench-")
	if err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make a folder for the benchmark: %w", err)
	}
	defer os.RemoveAll(bin)
	program, err := guestbin.Install(ctx, bin)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| files | first run | unchanged | per file | peak memory, all together | %s |\n|---:|---:|---:|---:|---:|%s\n",
		strings.Join(programs, " | "), strings.Repeat("---:|", len(programs)))
	var rows []row
	for _, n := range sizes {
		r, err := measure(ctx, program, n)
		if err != nil {
			return fmt.Errorf("%d files: %w", n, err)
		}
		fmt.Fprintln(out, r)
		rows = append(rows, r)
	}
	if len(rows) > 1 {
		a, b := rows[0], rows[len(rows)-1]
		fmt.Fprintf(out, "\nFrom %s to %s files, %.0f times as many, the unchanged run takes %.1f times as long and %.1f times the memory.\n",
			humanize.Comma(int64(a.files)), humanize.Comma(int64(b.files)), float64(b.files)/float64(a.files),
			b.again.Seconds()/a.again.Seconds(), float64(b.sum)/float64(a.sum))
	}
	return nil
}

// row is one size.
type row struct {
	files        int
	first, again time.Duration
	sum          int64            // peak of the sum, in bytes
	each         map[string]int64 // peak of each program: of its processes together
}

func (r row) String() string {
	cells := []string{
		humanize.Comma(int64(r.files)), r.first.Round(10 * time.Millisecond).String(), r.again.Round(10 * time.Millisecond).String(),
		(r.again / time.Duration(r.files)).Round(100 * time.Nanosecond).String(), humanize.IBytes(uint64(r.sum)),
	}
	for _, p := range programs {
		cells = append(cells, humanize.IBytes(uint64(r.each[p])))
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

func measure(ctx context.Context, program string, n int) (r row, err error) {
	r.files = n
	dir, err := os.MkdirTemp("", "fuseless-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	mem, err := os.MkdirTemp("/dev/shm", "fuseless-bench-") // the runtime folder: sockets have short names
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(mem)
	for _, d := range []string{"home", "remote", "source"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return r, err
		}
	}
	server, err := throwaway.Start(context.WithoutCancel(ctx), filepath.Join(dir, "remote"), filepath.Join(dir, "keys"))
	if err != nil {
		return r, err
	}
	defer server.Close()
	if err := generate(ctx, filepath.Join(dir, "source"), n); err != nil {
		return r, err
	}
	secret := filepath.Join(mem, "secret")
	if err := os.WriteFile(secret, []byte(millionSecret+"\n"), 0o600); err != nil {
		return r, err
	}
	conf := fmt.Sprintf("guest: local\nssh_config: %q\nvaults:\n  bench:\n    source: %q\n    destination: %s:bench\n    passphrase: {command: [cat, %q]}\n",
		server.SSHConfig, filepath.Join(dir, "source"), throwaway.Alias, secret)
	if err := os.WriteFile(filepath.Join(dir, "fuseless.yaml"), []byte(conf), 0o600); err != nil {
		return r, err
	}
	call := func(target string) (time.Duration, *peaks, error) {
		c := exec.CommandContext(ctx, program, target)
		c.Dir = dir
		c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(dir, "home"), "XDG_RUNTIME_DIR=" + mem, "LC_ALL=C.UTF-8"}
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
		c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
		c.WaitDelay = time.Minute
		var said tail
		c.Stdout, c.Stderr = &said, &said
		started := time.Now()
		if err := c.Start(); err != nil {
			return 0, nil, err
		}
		p := watch(c.Process.Pid)
		err := c.Wait()
		took := time.Since(started)
		p.stop()
		if err != nil {
			err = fmt.Errorf("fuseless %s: %w: %s", target, err, said)
		}
		return took, p, err
	}
	defer func() {
		if _, _, derr := call("down"); err == nil && ctx.Err() == nil {
			err = derr
		}
	}()
	if _, _, err := call("init"); err != nil {
		return r, err
	}
	if r.first, _, err = call("backup"); err != nil {
		return r, err
	}
	// The second unchanged run counts: the first may still settle the times of folders.
	if _, _, err = call("backup"); err != nil {
		return r, err
	}
	var p *peaks
	if r.again, p, err = call("backup"); err != nil {
		return r, err
	}
	r.sum, r.each = p.sum, p.each
	return r, nil
}

// generate makes n small files, a hundred in each folder, a hundred folders in
// each above.
func generate(ctx context.Context, dir string, n int) error {
	data := slices.Repeat([]byte("fuseless"), fileSize/8)
	for i := 0; i < n; i++ {
		folder := filepath.Join(dir, fmt.Sprintf("%03d", i/perFolder/100), fmt.Sprintf("%02d", i/perFolder%100))
		if i%perFolder == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		copy(data, fmt.Sprintf("%016x", i))
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("file %02d.txt", i%perFolder)), data, 0o644); err != nil {
			return proto.Errorf(proto.NoSpace, "cannot make the files: %w", err)
		}
	}
	return nil
}

// tail keeps the last 2 KiB.
type tail []byte

func (t *tail) Write(b []byte) (int, error) {
	*t = append(*t, b...)
	*t = (*t)[max(len(*t)-2048, 0):]
	return len(b), nil
}
