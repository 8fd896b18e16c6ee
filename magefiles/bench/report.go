package bench

import (
	"context"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"fuseless/magefiles/prereq"
)

// fairNote is what the numbers do not tell.
const fairNote = `What each gives for it:

- restic and borg keep a history of snapshots, each file once however often it occurs, compressed, in packs that hide
  the number and the sizes of the files. The files here are noise, each different, and nothing is ever pruned: that
  shows neither the gain nor the cost. What they wrote only they can read, and restore or mount. borg must be installed
  on the remote; restic needs only sftp there.
- fuseless keeps one copy, and what it deleted or replaced for some days in a trash; no history, no deduplication (a
  renamed folder is sent again), no compression. The vault is a stock gocryptfs one, which is mounted as a folder and
  read without fuseless; it shows how many files there are, and how large. The remote needs sftp and rsync. In its time
  are a look at the remote before anything is sent, and, with gocryptfs before 2.5.0 and where a folder changed, a
  second pass that mends gocryptfs#802.
- By hand is what fuseless does at its core, as a few commands, without its checks, trash, retries and second pass.
`

// report prints the result.
func (o BackupOptions) report(ctx context.Context, all []outcome) {
	t := newTree("", o.Files)
	fmt.Fprintf(o.Out, "%s\n%s files, %s, of which %s (%s) change; %s round trip, %.0f Mbit/s each way.\n", machine(),
		humanize.Comma(int64(o.Files)), humanize.IBytes(uint64(t.bytes(t.all()))), plural(len(t.changed()), "file"), humanize.IBytes(uint64(t.bytes(t.changed()))),
		o.Link.RTT, float64(o.Link.Rate)/1e6)
	var versions []string
	for _, s := range prereq.Check(ctx, append(prereq.LocalGuest(), prereq.Bench()...)) {
		switch s.Need.Name() {
		case "restic", "borg", "gocryptfs", "rsync", "ssh":
			versions = append(versions, s.Need.Name()+" "+s.Version)
		}
	}
	fmt.Fprintf(o.Out, "%s. Times in seconds; CPU is that of all processes of this side; of %d runs without a change the slowest counts.\nEach restored copy was compared with the source, and is the same.\n\n",
		strings.Join(versions, ", "), o.Unchanged)

	fmt.Fprint(o.Out, "| phase | tool | time | CPU | sent, MiB | received, MiB |\n|---|---|---:|---:|---:|---:|\n")
	for phase, name := range phaseNames {
		for _, r := range all {
			c := r.costs[phase]
			fmt.Fprintf(o.Out, "| %s | %s | %.2f | %.2f | %s | %s |\n", name, r.name, c.Wall.Seconds(), c.CPU.Seconds(), mib(c.sent.ToRemote), mib(c.sent.ToGuest))
		}
	}
	fmt.Fprintf(o.Out, "\n| %s divided by | %s |\n|---|%s\n", all[0].name, strings.Join(phaseNames[:], " | "), strings.Repeat("---:|", phases))
	for _, r := range all[1:] {
		fmt.Fprintln(o.Out, ratios(r.name+", time", all[0], r, func(c cost) float64 { return c.Wall.Seconds() }))
		fmt.Fprintln(o.Out, ratios(r.name+", CPU", all[0], r, func(c cost) float64 { return c.CPU.Seconds() }))
	}
	fmt.Fprintf(o.Out, "\n%s\nThe commands, first run and restore (/DIR and /MEM are the benchmark's folders, on disk and in memory):\n\n```\n", fairNote)
	for _, r := range all {
		fmt.Fprintf(o.Out, "# %s\n%s\n", r.name, strings.Join(r.commands, "\n"))
	}
	fmt.Fprint(o.Out, "```\n")
}

// ratios is a row with what the phases of a cost divided by what those of b do.
func ratios(name string, a, b outcome, of func(cost) float64) string {
	row := "| " + name + " |"
	for phase := range a.costs {
		row += fmt.Sprintf(" %.2f |", of(a.costs[phase])/of(b.costs[phase]))
	}
	return row
}

func mib(bytes int64) string { return fmt.Sprintf("%.2f", float64(bytes)/(1<<20)) }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
