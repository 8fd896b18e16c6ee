package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"fuseless/guest/proto"
	"fuseless/magefiles/chain"
	"fuseless/magefiles/guestbin"
	"fuseless/magefiles/prereq"
	"fuseless/magefiles/throwaway"
)

// perFolder is how many files a folder of the generated source has, and fileSize
// how many bytes a file.
const (
	perFolder = 100
	fileSize  = 64
)

// MillionOptions are what Million can be told.
type MillionOptions struct {
	Out     io.Writer
	Sizes   []int  // numbers of files; nil: 10,000, 100,000, 1,000,000
	Program string // the task binary; "": it is compiled, and what it needs installed
	Temp    string // folder to work in; "": the one for temporary files
}

// Million measures, for each number of small files, a first backup and one
// without a change, against a throwaway remote on loopback, and prints a table
// in Markdown: wall time, CPU time of all processes of this side, and the peak
// of resident memory, of all of them together and of each program. It needs
// Linux and about 9 kB of disk a file below the folder for temporary files; a
// million files take about half an hour. What it makes it removes again.
//
// There is one run without a change: that it had nothing to do is checked, so
// one before, for the first to settle something, would show nothing more.
func Million(ctx context.Context, o MillionOptions) error {
	p, err := newPlace(o.Temp)
	if err != nil {
		return err
	}
	defer p.remove()
	if o.Program == "" {
		if err := prereq.Ensure(ctx, prereq.LocalGuest(), os.Stderr); err != nil {
			return err
		}
		if o.Program, err = guestbin.Install(ctx, p.path("bin")); err != nil {
			return err
		}
	}
	if o.Sizes == nil {
		o.Sizes = []int{10_000, 100_000, 1_000_000}
	}
	fmt.Fprintf(o.Out, "%s\n\n", machine())
	fmt.Fprintf(o.Out, "| files | first run | unchanged | a file | CPU | a file | peak memory, all together | %s |\n|---:|---:|---:|---:|---:|---:|---:|%s\n",
		strings.Join(programs, " | "), strings.Repeat("---:|", len(programs)))
	var rows []row
	for _, n := range o.Sizes {
		r, err := measure(ctx, o, n)
		if err != nil {
			return fmt.Errorf("%d files: %w", n, err)
		}
		fmt.Fprintln(o.Out, r)
		rows = append(rows, r)
	}
	fmt.Fprintf(o.Out, "\nCPU time is that of all processes of this side. In each unchanged run nothing was sent, made or deleted.\n%s", growth(rows))
	return nil
}

// row is one size.
type row struct {
	files        int
	first, again usage
	peaks        peaks // of the unchanged run
}

func (r row) perFile(d time.Duration) time.Duration { return d / time.Duration(r.files) }

func (r row) String() string {
	cells := []string{humanize.Comma(int64(r.files)), seconds(r.first.Wall), seconds(r.again.Wall), micros(r.perFile(r.again.Wall)),
		seconds(r.again.CPU), micros(r.perFile(r.again.CPU)), humanize.IBytes(uint64(r.peaks.sum))}
	for _, p := range programs {
		cells = append(cells, humanize.IBytes(uint64(r.peaks.each[p])))
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func micros(d time.Duration) string {
	return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
}

// growth says how the cost of an unchanged run grows with the number of files.
func growth(rows []row) string {
	if len(rows) < 2 {
		return ""
	}
	var each, more []string
	for i, r := range rows {
		size := humanize.Comma(int64(r.files))
		each = append(each, fmt.Sprintf("%s (CPU %s) at %s", micros(r.perFile(r.again.Wall)), micros(r.perFile(r.again.CPU)), size))
		if i > 0 {
			// Without what a run costs whatever it finds.
			last := rows[i-1]
			n := time.Duration(r.files - last.files)
			more = append(more, fmt.Sprintf("%s (CPU %s) up to %s", micros((r.again.Wall-last.again.Wall)/n), micros((r.again.CPU-last.again.CPU)/n), size))
		}
	}
	a, b := rows[0], rows[len(rows)-1]
	times := float64(b.files) / float64(a.files)
	return fmt.Sprintf("\nA file of an unchanged run takes %s; one more file takes %s.\n"+
		"%.0f times as many files take %.2f times as long a file (CPU %.2f times), and %.1f times the memory.\n",
		strings.Join(each, ", "), strings.Join(more, ", "), times,
		b.again.Wall.Seconds()/a.again.Wall.Seconds()/times, b.again.CPU.Seconds()/a.again.CPU.Seconds()/times, float64(b.peaks.sum)/float64(a.peaks.sum))
}

func measure(ctx context.Context, o MillionOptions, n int) (r row, err error) {
	r.files = n
	p, err := newPlace(o.Temp)
	if err != nil {
		return r, err
	}
	defer func() {
		if rerr := p.remove(); err == nil {
			err = rerr
		}
	}()
	server, err := throwaway.Start(context.WithoutCancel(ctx), p.path("remote"), p.path("keys"))
	if err != nil {
		return r, err
	}
	defer server.Close()
	if err := generate(ctx, p.path("source"), n); err != nil {
		return r, err
	}
	if err := p.configure(server.SSHConfig, throwaway.Alias+":bench"); err != nil {
		return r, err
	}
	call := func(ctx context.Context, peak *peaks, args ...string) (usage, error) {
		return p.run(ctx, nil, peak, nil, step{Argv: append([]string{o.Program}, args...)})
	}
	defer func() { // also after Ctrl-C
		if _, derr := call(context.WithoutCancel(ctx), nil, "down"); err == nil {
			err = derr
		}
	}()
	if _, err := call(ctx, nil, "init"); err != nil {
		return r, err
	}
	if r.first, err = call(ctx, nil, "backup"); err != nil {
		return r, err
	}
	if r.again, err = call(ctx, &r.peaks, "backup"); err != nil {
		return r, err
	}
	return r, p.unchanged(ctx, o.Program)
}

// configure writes fuseless.yaml for the place's source.
func (p *place) configure(ssh, destination string) error {
	return os.WriteFile(p.path("fuseless.yaml"), fmt.Appendf(nil,
		"guest: local\nssh_config: %q\nvaults:\n  bench:\n    source: %q\n    destination: %q\n    passphrase: {command: [cat, %q]}\n",
		ssh, p.path("source"), destination, p.secret()), 0o600)
}

// unchanged is an error if the last backup had anything to do.
func (p *place) unchanged(ctx context.Context, program string) error {
	var said bytes.Buffer
	if _, err := p.run(ctx, nil, nil, &said, step{Argv: []string{program, "status", "-json"}}); err != nil {
		return err
	}
	var doc chain.StatusDocument
	if err := json.Unmarshal(said.Bytes(), &doc); err != nil {
		return proto.Errorf(proto.Internal, "status -json: %w: %s", err, said.Bytes())
	}
	if len(doc.Vaults) != 1 || doc.Vaults[0].LastBackup == nil || doc.Vaults[0].LastBackup.Result == nil {
		return proto.Errorf(proto.Internal, "status -json has no account of the backup: %s", said.Bytes())
	}
	if b := doc.Vaults[0].LastBackup.Result; b.Transferred+b.Created+b.Deleted+b.Held != 0 || b.Incomplete {
		return proto.Errorf(proto.Different, "a backup of an unchanged source had something to do: %+v", *b)
	}
	return nil
}

// generate makes n small files, a hundred in each folder, a hundred folders in
// each above.
func generate(ctx context.Context, dir string, n int) error {
	data := slices.Repeat([]byte("fuseless"), fileSize/8)
	for i := range n {
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
