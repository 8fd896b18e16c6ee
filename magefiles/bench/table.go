package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"fuseless/magefiles/prereq"
)

// runs are the runs of a benchmark, by reader and scene.
type runs struct {
	first string // the reader with which the others are compared
	all   []map[[2]string]look
}

func (r *runs) next() { r.all = append(r.all, map[[2]string]look{}) }

func (r *runs) add(reader, scene string, v look) {
	r.all[len(r.all)-1][[2]string{reader, scene}] = v
}

// worst is the slowest of all runs, and how many times as long as the first reader it took
// at least, within a run.
func (r *runs) worst(reader, scene string) (v look, ratio float64, ok bool) {
	for _, run := range r.all {
		theirs, there := run[[2]string{reader, scene}]
		if !there {
			continue
		}
		ok = true
		if theirs.d > v.d {
			v = theirs
		}
		if first, there := run[[2]string{r.first, scene}]; there {
			if x := theirs.d.Seconds() / first.d.Seconds(); ratio == 0 || x < ratio {
				ratio = x
			}
		}
	}
	return v, ratio, ok
}

// table is what Remote has measured.
type table struct {
	o RemoteOptions
	runs
}

// report prints the result.
func (t *table) report(ctx context.Context, p *place, f *far) error {
	var versions []string
	for _, s := range prereq.Check(ctx, append(prereq.LocalGuest(), prereq.Bench()...)) {
		switch s.Need.Name() {
		case rclone, "gocryptfs", "sshfs", "ssh":
			versions = append(versions, s.Need.Name()+" "+s.Version)
		}
	}
	runs := "Each is measured once."
	if t.o.Runs > 1 {
		runs = fmt.Sprintf("Of %d runs the slowest counts, and the worst\nratio of two times of one run.", t.o.Runs)
	}
	fmt.Fprintf(t.o.Out, "%s\n%s round trip unless said, %.0f Mbit/s each way. %s. %s Each sitting has new mounts and connections on both ends, and dropped caches.\n\n",
		machine(), t.o.Link.RTT, float64(t.o.Link.Rate)/1e6, strings.Join(versions, ", "), runs)
	fmt.Fprintf(t.o.Out, "| what | by | time | times that of %s | SFTP requests | round trips | sent, KiB | received, KiB | memory, MiB |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n", t.o.Readers[0])
	reduced := false
	for _, s := range sittings() {
		for _, sc := range s.scenes {
			for _, name := range t.o.Readers {
				v, ratio, ok := t.worst(name, sc.name)
				if !ok {
					continue
				}
				mark := ""
				if v.reduced {
					mark, reduced = " *", true
				}
				requests, rounds, memory := "", "", ""
				if v.requests >= 0 {
					requests, rounds, memory = humanize.Comma(v.requests), humanize.Comma(v.rounds), fmt.Sprintf("%.0f", float64(v.memory)/(1<<20))
				}
				fmt.Fprintf(t.o.Out, "| %s | %s | %s%s | %s | %s | %s | %s | %s | %s |\n", sc.name, name, short(v.d), mark, times(ratio),
					requests, rounds, kib(v.sent.ToRemote), kib(v.sent.ToGuest), memory)
			}
		}
	}
	if reduced {
		fmt.Fprintf(t.o.Out, "\n\\* A tenth of the files was listed, and the time multiplied by ten: the whole takes minutes. The other columns are of the tenth.\n")
	}
	fmt.Fprintf(t.o.Out, "\n%sThe commands (/DIR and /MEM are the benchmark's folders, on disk and in memory):\n\n```\n", t.notes(p))
	for _, name := range t.o.Readers {
		fmt.Fprintf(t.o.Out, "# %s\n", name)
		steps := []step{f.cat(p)}
		if name != sshCat {
			s, err := newServer(name, p, f, t.o.Program)
			if err != nil {
				return err
			}
			steps = s.steps
		}
		for _, s := range steps {
			if !s.Always && s.Argv[0] != "sleep" && s.Argv[0] != "touch" {
				fmt.Fprintln(t.o.Out, strings.NewReplacer(append(p.vm.shown(), t.o.Program, "fuseless", p.dir, "/DIR", p.mem, "/MEM")...).Replace(s.String()))
			}
		}
	}
	fmt.Fprint(t.o.Out, "```\n")
	return nil
}

// notes are what the numbers do not tell.
func (t *table) notes(p *place) string {
	var b strings.Builder
	for _, name := range t.o.Readers {
		switch name {
		case oursVM:
			fmt.Fprintf(&b, "- %s\n", p.vm.note())
		case obvious:
			b.WriteString("- obvious is golang.org/x/net/webdav's handler on a gocryptfs on an sshfs, each with its defaults.\n")
		case rclone:
			b.WriteString(`- rclone reads a crypt of its own, made of the same files; it cannot store the long names, of which it encrypts each into one of
  more than 255 bytes.
`)
		case sshCat:
			b.WriteString("- ssh cat is the encrypted bytes' way alone, from the first byte to the last.\n")
		}
	}
	b.WriteString("- A round trip is a request that came to the remote's sftp server when all before it were answered.\n\n")
	return b.String()
}

// short is a time with three digits that count.
func short(d time.Duration) string {
	switch s := d.Seconds(); {
	case s >= 10:
		return fmt.Sprintf("%.1f s", s)
	case s >= 1:
		return fmt.Sprintf("%.2f s", s)
	default:
		return fmt.Sprintf("%.1f ms", s*1000)
	}
}

func times(ratio float64) string {
	if ratio == 0 {
		return ""
	}
	switch {
	case ratio >= 100:
		return fmt.Sprintf("%.0f", ratio)
	case ratio >= 10:
		return fmt.Sprintf("%.1f", ratio)
	}
	return fmt.Sprintf("%.2f", ratio)
}

func kib(bytes int64) string { return humanize.Comma((bytes + 512) >> 10) }
