// Package bench measures what fuseless costs.
package bench

import (
	"context"
	"io"
	"slices"
	"strings"

	"fuseless/guest/proto"
)

// benchmarks are what `mage bench` can be asked for. Each installs what it
// needs, and writes its result to out, as Markdown. runs is how often it measures
// what it does not measure once in any case; 0: as it is published.
var benchmarks = []struct {
	name string
	run  func(ctx context.Context, out io.Writer, runs int) error
}{
	{"backup", func(ctx context.Context, out io.Writer, runs int) error {
		return Backup(ctx, BackupOptions{Out: out, Unchanged: runs})
	}},
	{"remote", func(ctx context.Context, out io.Writer, runs int) error {
		return Remote(ctx, RemoteOptions{Out: out, Runs: runs})
	}},
	{"vm", func(ctx context.Context, out io.Writer, runs int) error {
		return Remote(ctx, RemoteOptions{Out: out, Readers: vmReaders, Runs: max(runs, 1)})
	}},
	{"local", func(ctx context.Context, out io.Writer, runs int) error {
		return Local(ctx, LocalOptions{Out: out, Runs: runs})
	}},
	{"write", func(ctx context.Context, out io.Writer, runs int) error {
		return Write(ctx, WriteOptions{Out: out, Runs: runs})
	}},
	{"million", func(ctx context.Context, out io.Writer, _ int) error {
		return Million(ctx, MillionOptions{Out: out})
	}},
}

// Run runs one benchmark, with so many runs; 0: as many as are published. An
// unknown name is an error of code Config, and so is a number below 0.
func Run(ctx context.Context, what string, runs int, out io.Writer) error {
	if runs < 0 {
		return proto.Errorf(proto.Config, "%d runs are too few", runs).WithHint("give 1 or more")
	}
	var names []string
	for _, b := range benchmarks {
		if b.name == what {
			return b.run(ctx, out, runs)
		}
		names = append(names, b.name)
	}
	slices.Sort(names)
	return proto.Errorf(proto.Config, "there is no benchmark %q", what).
		WithHint("there are: %s", strings.Join(names, ", "))
}
