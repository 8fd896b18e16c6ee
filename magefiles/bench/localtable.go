package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"fuseless/guest/proc"
	"fuseless/magefiles/prereq"
)

// localTable is what Local has measured.
type localTable struct {
	o LocalOptions
	runs
	memory map[string]int64 // by reader, bytes
	said   map[string]string
	absent []string
}

// remember keeps the peak of all runs.
func (t *localTable) remember(reader string, memory int64) {
	if t.memory == nil {
		t.memory = map[string]int64{}
	}
	t.memory[reader] = max(t.memory[reader], memory)
}

// commands keeps the command of a server, with its configuration.
func (t *localTable) commands(p *place, s server) {
	shorten := strings.NewReplacer(t.o.Guest, "fuseless-guest", p.dir, "/DIR", p.mem, "/MEM")
	text := "# " + s.name + "\n"
	for _, st := range s.steps {
		text += st.String() + "\n"
		for _, a := range st.Argv {
			if b, err := os.ReadFile(a); err == nil && strings.HasSuffix(a, ".conf") {
				text += string(b)
			}
		}
	}
	if t.said == nil {
		t.said = map[string]string{}
	}
	t.said[s.name] = shorten.Replace(text)
}

// localNote is what the numbers do not tell.
const localNote = `- Each cell is the slowest of the runs and, in brackets, how many times as long as fuseless it took at least, within a run:
  above 1, fuseless was faster, also where a rate is given. In a run the servers take turns, and the best of %d counts; the first row is once.
- All lies in the kernel's cache, and client and servers share the processors. The client that reads small files only compares them.
- fuseless asks for user and password with every request, as it always does; the others ask nobody.
- "Again": fuseless answers from a listing that it remembers (here for 20 s), as rclone does (for 5 min). nginx, apache and obvious read the folder.
- obvious is golang.org/x/net/webdav's handler. nginx says neither the date of creation nor, of all properties, type and ETag.
`

// report prints the result.
func (t *localTable) report(ctx context.Context, u *unpacked) {
	fmt.Fprintf(t.o.Out, "%s\nNo link: a folder of this machine. %s. Of %d runs the slowest counts.\n\n",
		machine(), strings.Join(t.versions(ctx, u), ", "), t.o.Runs)
	fmt.Fprintf(t.o.Out, "| what | %s |\n|---|%s\n", strings.Join(t.o.Readers, " | "), strings.Repeat("---:|", len(t.o.Readers)))
	l := &folder{library: library{size: t.o.Size}}
	for _, sc := range t.o.scenes() {
		fmt.Fprintln(t.o.Out, t.row(l, sc.name, sc.show))
		if sc.also != nil {
			fmt.Fprintln(t.o.Out, t.row(l, sc.alsoName, sc.show))
		}
	}
	row := "| memory at most |"
	for _, name := range t.o.Readers {
		row += fmt.Sprintf(" %.0f MiB |", float64(t.memory[name])/(1<<20))
	}
	fmt.Fprintf(t.o.Out, "%s\n\n", row)
	for _, a := range t.absent {
		fmt.Fprintf(t.o.Out, "%s.\n\n", a)
	}
	fmt.Fprint(t.o.Out, t.o.note())
	fmt.Fprint(t.o.Out, "\nThe commands, and what they read (/DIR and /MEM are the benchmark's folders, on disk and in memory):\n\n```\n")
	for _, name := range t.o.Readers {
		fmt.Fprint(t.o.Out, t.said[name])
	}
	fmt.Fprint(t.o.Out, "```\n")
}

// row is what all took for a scene.
func (t *localTable) row(l *folder, scene string, show func(*folder, time.Duration) string) string {
	row := "| " + scene + " |"
	for _, name := range t.o.Readers {
		v, ratio, _ := t.worst(name, scene)
		row += " " + show(l, v.d)
		if name != t.first {
			row += " (" + times(ratio) + ")"
		}
		row += " |"
	}
	return row
}

var peerVersion = regexp.MustCompile(`(?:nginx|Apache)/(\d[\w.]*)`)

func (t *localTable) versions(ctx context.Context, u *unpacked) (all []string) {
	for _, name := range t.o.Readers {
		switch name {
		case obvious:
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, m := range info.Deps {
					if m.Path == "golang.org/x/net" {
						all = append(all, "x/net "+m.Version)
					}
				}
			}
		case rclone:
			for _, s := range prereq.Check(ctx, prereq.Bench()) {
				if s.Need.Name() == rclone {
					all = append(all, rclone+" "+s.Version)
				}
			}
		case nginx, apache:
			program, err := u.find(map[string]string{nginx: "usr/sbin/nginx", apache: "usr/sbin/apache2"}[name])
			if err != nil {
				continue
			}
			var said bytes.Buffer
			_ = proc.Run(ctx, proc.Cmd{Argv: u.argv(program, "-v"), Stdout: &said, Stderr: &said})
			if m := peerVersion.FindSubmatch(said.Bytes()); m != nil {
				all = append(all, name+" "+string(m[1]))
			}
		}
	}
	return all
}
