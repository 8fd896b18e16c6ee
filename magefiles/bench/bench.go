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
// needs, and writes its result to out, as Markdown.
var benchmarks = []struct {
	name string
	run  func(ctx context.Context, out io.Writer) error
}{
	{"backup", func(ctx context.Context, out io.Writer) error { return Backup(ctx, BackupOptions{Out: out}) }},
	{"remote", func(ctx context.Context, out io.Writer) error { return Remote(ctx, RemoteOptions{Out: out}) }},
	{"local", func(ctx context.Context, out io.Writer) error { return Local(ctx, LocalOptions{Out: out}) }},
	{"million", func(ctx context.Context, out io.Writer) error { return Million(ctx, MillionOptions{Out: out}) }},
}

// Run runs one benchmark. An unknown name is an error of code Config.
func Run(ctx context.Context, what string, out io.Writer) error {
	var names []string
	for _, b := range benchmarks {
		if b.name == what {
			return b.run(ctx, out)
		}
		names = append(names, b.name)
	}
	slices.Sort(names)
	return proto.Errorf(proto.Config, "there is no benchmark %q", what).
		WithHint("there are: %s", strings.Join(names, ", "))
}
