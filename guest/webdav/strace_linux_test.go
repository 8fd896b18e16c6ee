package webdav

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// straced is launch, with the system calls that change files, those that make changes durable,
// and the answers in the file log; options are more of strace(1).
func straced(t *testing.T, program, root, log string, options ...string) *process {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed; `go tool mage test` installs it")
	}
	var calls []string
	for name := range changes {
		calls = append(calls, "?"+name) // not every machine has each
	}
	// -D makes the server the child, which can be ended, and not strace. strace keeps stderr
	// open until it is through, and so launch's end waits for both.
	argv := []string{"strace", "-D", "-f", "-y", "-o", log, "-e", "signal=none", "-e", "trace=" + strings.Join(calls, ",")}
	return launch(t, append(argv, options...), program, root)
}

// changes are the system calls of interest, and the argument, counted from 0, with what they
// change: a descriptor, or one and the next, a name.
var changes = map[string]int{
	"write": 0, "pwrite64": 0, "writev": 0, "pwritev": 0, "ftruncate": 0, "fallocate": 0, "sendfile": 0, "copy_file_range": 2, "splice": 2,
	"fchmod": 0, "fchmodat": 0, "fchown": 0, "utimensat": 0, "fsetxattr": 0, "fremovexattr": 0,
	"openat": 0, "mkdirat": 0, "unlinkat": 0, "renameat": 0, "renameat2": 0, "linkat": 2, "symlinkat": 1,
	"fsync": 0, "fdatasync": 0,
	// Others that os.Root has no use for, and without which this could not see a thing.
	"open": 0, "creat": 0, "mkdir": 0, "rmdir": 0, "unlink": 0, "rename": 0, "link": 0, "symlink": 0, "truncate": 0, "chmod": 0,
}

// sysCall is one that did not fail.
type sysCall struct {
	name       string
	args       []string
	begin, end int // lines
}

var (
	callLine    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	succeeded   = regexp.MustCompile(`\) += \d+[^)]*$`)
)

// looks reports whether it changes nothing.
func (c *sysCall) looks() bool {
	return c.name == "openat" && !strings.Contains(c.args[2], "O_CREAT") && !strings.Contains(c.args[2], "O_TRUNC")
}

// readStrace parses what strace -f wrote, in the order in which calls began.
func readStrace(t *testing.T, log string) (calls []*sysCall) {
	t.Helper()
	unfinished := map[string]*sysCall{} // by thread
	text := map[*sysCall]string{}
	for i, line := range strings.Split(read(t, log), "\n") {
		var c *sysCall
		if m := callLine.FindStringSubmatch(line); m != nil {
			c = &sysCall{name: m[2], begin: i, end: -1}
			calls = append(calls, c)
			rest, cut := strings.CutSuffix(m[3], " <unfinished ...>")
			if text[c] = rest; cut {
				unfinished[m[1]] = c
				continue
			}
		} else if m := resumedLine.FindStringSubmatch(line); m != nil {
			if c = unfinished[m[1]]; c == nil {
				t.Fatalf("what was resumed? %s", line)
			}
			text[c] += m[2]
		} else {
			continue
		}
		if at := succeeded.FindStringIndex(text[c]); at != nil {
			c.args, c.end = splitArgs(text[c][:at[0]]), i
		}
	}
	ended := calls[:0]
	for _, c := range calls {
		if c.end >= 0 {
			ended = append(ended, c)
		}
	}
	return ended
}

// splitArgs splits at commas that are in no string and no braces; names here hold neither.
func splitArgs(s string) (args []string) {
	depth, quoted, from := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c == ',' && depth == 0:
			args = append(args, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	return append(args, strings.TrimSpace(s[from:]))
}

// at is the path of the argument n: of a descriptor, or of a name beside one.
func (c *sysCall) at(n int) string {
	if n >= len(c.args) {
		return ""
	}
	_, p, ok := strings.Cut(strings.TrimSuffix(c.args[n], ">"), "<")
	if !ok || !strings.HasPrefix(p, "/") {
		return ""
	}
	if n+1 < len(c.args) && strings.HasSuffix(c.name, "at") || strings.HasSuffix(c.name, "at2") {
		if name, ok := strings.CutPrefix(c.args[n+1], `"`); ok {
			p = filepath.Join(p, strings.TrimSuffix(name, `"`))
		}
	}
	return p
}

// disk is what would be lost if the power went.
type disk struct {
	t     *testing.T
	root  string
	dirty map[string]bool // files, and folders with their entries
	// What has happened since it was last asked: "rename U f", with U for what is hidden.
	did []string
}

// see takes the next call, which is about files in the root.
func (d *disk) see(c *sysCall) {
	p := d.name(c.at(changes[c.name]))
	if p == "" {
		return
	}
	switch c.name {
	case "open", "creat", "mkdir", "rmdir", "unlink", "rename", "link", "symlink", "truncate", "chmod":
		d.t.Errorf("%s is not looked at by this test: %q", c.name, c.args)
	case "fsync", "fdatasync":
		delete(d.dirty, p)
		d.note("fsync", p)
	case "openat":
		if strings.Contains(c.args[2], "O_TRUNC") {
			d.t.Errorf("%s is cut to nothing", p)
		}
		d.dirty[p] = true
		d.entry(p)
		d.note("create", p)
	case "mkdirat", "linkat", "symlinkat":
		d.entry(p)
		d.note(c.name, p)
	case "unlinkat":
		if hasTemporary(p) {
			d.givenUp(p)
		}
		delete(d.dirty, p)
		d.entry(p)
		d.note("unlink", p)
	case "renameat", "renameat2":
		to := d.name(c.at(2))
		if to == p {
			return // rename(2) does nothing
		}
		if temporary := hasPrefixAndID(filepath.Base(to), temporaryPrefix); temporary && hasTemporary(p) {
			d.givenUp(p) // what was set aside
		} else {
			for q := range d.dirty {
				if within(q, p) {
					d.t.Errorf("%s gets the name %s, and %s in it is not durable: %q", d.show(p), d.show(to), d.show(q), d.did)
				}
			}
			if aside := filepath.Dir(to); isTemporary(aside) {
				for q := range d.dirty {
					if q == "." || within(q, aside) {
						d.t.Errorf("%s is set aside to where it may not be found: %q", p, d.did)
					}
				}
			}
			d.entry(p)
			d.entry(to)
		}
		d.did = append(d.did, "rename "+d.show(p)+" "+d.show(to))
	default:
		d.dirty[p] = true
		d.note("change", p)
	}
}

// entry is a change of a folder. Uploads may be lost.
func (d *disk) entry(p string) {
	if !hasPrefixAndID(filepath.Base(p), temporaryPrefix) {
		d.dirty[filepath.Dir(p)] = true
	}
}

// givenUp is when something hidden goes, with which what was there before could be put back.
func (d *disk) givenUp(p string) {
	for q := range d.dirty {
		if !hasTemporary(q) {
			d.t.Errorf("%s is given up before %s is durable: %q", d.show(p), d.show(q), d.did)
		}
	}
}

// name is a path below the root as an FS has it, "" elsewhere.
func (d *disk) name(p string) string {
	p = strings.TrimSuffix(p, " (deleted)")
	if p == d.root {
		return "."
	}
	name, _ := strings.CutPrefix(p, d.root+"/")
	if name == p {
		return ""
	}
	return name
}

func (d *disk) show(name string) string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if isTemporary(part) {
			part = map[bool]string{true: "U", false: "R"}[strings.HasPrefix(part, temporaryPrefix)]
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "/")
}

// note leaves out what is said again at once: a file is written in pieces.
func (d *disk) note(what, p string) {
	if s := what + " " + d.show(p); len(d.did) == 0 || d.did[len(d.did)-1] != s {
		d.did = append(d.did, s)
	}
}

// answered is when the client is told that it is done: nothing of it may be lost then.
func (d *disk) answered() (did []string) {
	for p := range d.dirty {
		if !hasTemporary(p) {
			d.t.Errorf("it is answered before %s is durable: %q", p, d.did)
		}
	}
	clear(d.dirty)
	did, d.did = d.did, nil
	return did
}

// realTempDir is t.TempDir as the kernel has it.
func realTempDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
