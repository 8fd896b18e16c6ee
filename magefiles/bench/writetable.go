package bench

import (
	"context"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"fuseless/magefiles/prereq"
)

// written is what the remote's sftp servers were asked to write.
type written struct {
	requests int64 // WRITEs
	bytes    int64
	syncs    int64 // fsync@openssh.com
}

func (f *far) wrote() written {
	return written{f.counts.writes.Load(), f.counts.written.Load(), f.counts.syncs.Load()}
}

func (w written) since(before written) written {
	return written{w.requests - before.requests, w.bytes - before.bytes, w.syncs - before.syncs}
}

// writeTable is what Write has measured over a link.
type writeTable struct {
	o *WriteOptions
	runs
}

// writeNote is what the numbers do not tell.
const writeNote = `- fuseless answers when the file is on the remote's disk, as far as sftp can see to it: fsync@openssh.com of the file. Of the folder sftp knows no
  sync. Nobody else syncs but sftp, which is told to; they answer when the remote's system has it.
- fuseless and obvious (golang.org/x/net/webdav's handler) write into a gocryptfs on an sshfs. rclone writes into a crypt of its own. sftp takes the
  bytes as they are, without its login.
- What is on the remote at the answer was compared, by another mount of it there. Each row begins with an empty vault, new mounts and connections.
- A round trip is a request that came to the remote's sftp server when all before it were answered.
`

// report prints the result.
func (t *writeTable) report(ctx context.Context, p *place, f *far) error {
	var versions []string
	for _, s := range prereq.Check(ctx, append(prereq.LocalGuest(), prereq.Bench()...)) {
		switch s.Need.Name() {
		case rclone, "gocryptfs", "sshfs", "ssh":
			versions = append(versions, s.Need.Name()+" "+s.Version)
		}
	}
	fmt.Fprintf(t.o.Out, "%s\n%s round trip, %.0f Mbit/s each way. %s. Of %d runs the slowest counts, and the worst ratio of two times of one run.\n\n",
		machine(), t.o.Link.RTT, float64(t.o.Link.Rate)/1e6, strings.Join(versions, ", "), t.o.Runs)
	fmt.Fprintf(t.o.Out, "| what | by | time | times that of %s | SFTP requests | WRITEs | of KiB | fsyncs | round trips | sent, KiB | received, KiB | memory, MiB |\n", t.first)
	fmt.Fprintf(t.o.Out, "|---|---|%s\n", strings.Repeat("---:|", 10))
	for _, scene := range []string{putFilmScene, putSmallScene} {
		for _, name := range writers {
			v, ratio, ok := t.worst(name, scene)
			if !ok {
				continue
			}
			memory, size := "", ""
			if v.memory > 0 {
				memory = fmt.Sprintf("%.0f", float64(v.memory)/(1<<20))
			}
			if v.wrote.requests > 0 {
				size = fmt.Sprintf("%.1f", float64(v.wrote.bytes)/float64(v.wrote.requests)/(1<<10))
			}
			fmt.Fprintf(t.o.Out, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", scene, name, short(v.d), times(ratio),
				humanize.Comma(v.requests), humanize.Comma(v.wrote.requests), size, humanize.Comma(v.wrote.syncs), humanize.Comma(v.rounds),
				kib(v.sent.ToRemote), kib(v.sent.ToGuest), memory)
		}
	}
	fmt.Fprintf(t.o.Out, "\n%s\nThe commands (/DIR and /MEM are the benchmark's folders, on disk and in memory):\n\n```\n", writeNote)
	shorten := strings.NewReplacer(t.o.Guest, "fuseless-guest", p.dir, "/DIR", p.mem, "/MEM")
	for _, name := range writers {
		fmt.Fprintf(t.o.Out, "# %s\n", name)
		steps := []step{f.put(p)}
		if name != sftpPut {
			s, err := newWriter(name, p, f, t.o.Guest)
			if err != nil {
				return err
			}
			steps = s.steps
		}
		for _, s := range steps {
			if !s.Always {
				fmt.Fprintln(t.o.Out, shorten.Replace(s.String()))
			}
		}
	}
	fmt.Fprint(t.o.Out, "# its commands\n", shorten.Replace(p.sftpCommands()))
	fmt.Fprint(t.o.Out, "```\n")
	return nil
}
