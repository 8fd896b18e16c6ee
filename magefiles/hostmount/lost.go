package hostmount

import (
	"fmt"
	"strconv"
	"strings"

	"fuseless/guest/proto"
)

// lost is what was written into a mount and did not reach the server.
type lost struct {
	now    []keptFolder // found by this very look
	before []keptFolder // found earlier, and not rescued yet
	other  string       // to be said besides
}

// keptFolder is a folder with lost files.
type keptFolder struct {
	dir    string
	files  []string // their paths
	unsure bool     // davfs2 was killed: a file may have arrived all the same
}

// listedMax is how many lost files a message names.
const listedMax = 20

const keepHint = "copy them before the machine restarts: they lie in memory only"

// warning is l for a person to read; "" if nothing is lost.
func (l lost) warning() string {
	w := l.reminder()
	for _, k := range l.now {
		w = join(w, k.String()+"\n"+k.hint())
	}
	return w
}

// reminder is the warning of what was found earlier.
func (l lost) reminder() string {
	w := l.other
	for _, k := range l.before {
		w = join(w, k.list("could not be brought to the server by an earlier mount, and are still kept")+"\n"+k.hint())
	}
	return w
}

// err is l as the failure of the unmount that found it: nil where it found
// nothing new. It is Incomplete, the code of a backup that did not transfer
// some files.
func (l lost) err() error {
	if len(l.now) == 0 {
		return nil
	}
	var s, hint string
	for _, k := range l.now {
		s, hint = join(s, k.String()), join(hint, k.hint())
	}
	return proto.Errorf(proto.Incomplete, "unmounted, but %s", s).WithHint("%s", hint)
}

func (k keptFolder) String() string {
	if k.unsure {
		return k.list("may not have reached the server (davfs2 was killed; compare before you copy)")
	}
	return k.list("did not reach the server")
}

// list is k's files, and what is to be said of them.
func (k keptFolder) list(what string) string {
	n := "1 file"
	if len(k.files) != 1 {
		n = fmt.Sprintf("%d files", len(k.files))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s:", n, what)
	for i, f := range k.files {
		if i == listedMax {
			fmt.Fprintf(&b, "\n  and %d more in %s", len(k.files)-i, k.dir)
			break
		}
		fmt.Fprintf(&b, "\n  %s", printable(f))
	}
	return b.String()
}

func (k keptFolder) hint() string {
	return keepHint + "; then remove what is in " + k.dir
}

// printable is a file's name on one line, and without what a terminal obeys.
func printable(name string) string {
	if q := strconv.Quote(name); q != `"`+name+`"` {
		return q
	}
	return name
}
