//go:build linux

package main_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fuseless/guest/proto"
	"fuseless/magefiles/compare"
)

// failure is a row of the README's table "What can go wrong": something that is
// wrong, and how a target then ends. To add one, append it to the slice of its
// group (or a new slice to failures), leave want and hint empty, and run
//
//	go test ./magefiles -run TestFailures
//
// which shows what they are; then, with -update, it writes the README's table.
type failure struct {
	group, what string   // for the table, in plain words
	on          kind     // the lab that it happens on
	args        []string // the target and its flags

	// setup makes the fault; what it returns, which may be nil, mends it. What
	// it puts into l.env counts for this row only.
	setup func(l *lab) (mend func())

	says []string // what it must say besides, on either output
	want string   // the message, exact, but for what plainWords replaces
	hint string
	code proto.Code

	shrinks bool // the source changes meanwhile

	grows bool // more may lie on the remote than before; nothing that was there changes
}

// failures are all rows, in the order of the table.
func failures() (all []failure) {
	for _, rows := range [][]failure{passphraseFailures, sourceFailures, remoteFailures, vaultFailures, hostFailures, twiceFailures} {
		all = append(all, rows...)
	}
	return all
}

// kind is a kind of lab. The rows of one kind share a lab, one after the other;
// the kinds run side by side.
type kind string

const (
	near     kind = "near" // the throwaway remote
	ordinary kind = "user" // the same, run by an ordinary user
	box      kind = "box"  // OpenSSH with a forced command, an account of its own, and a disk of its own

	// For what ends only after a minute, or leaves paths that are too long for
	// the next row.
	alone1 kind = "alone 1"
	alone2 kind = "alone 2"
)

// labs makes a lab with a backup for each kind.
var labs = map[kind]func(t *testing.T) *lab{
	near: func(t *testing.T) *lab { return newLab(t).started() },
	ordinary: func(t *testing.T) *lab {
		l := newLab(t)
		l.fill()
		l.asUser()
		l.ok("init")
		l.ok("backup")
		return l
	},
	box:    boxLab,
	alone1: func(t *testing.T) *lab { return newLab(t).started() },
	alone2: func(t *testing.T) *lab { return newLab(t).started() },
}

// TestFailures makes every failure of the table, and asserts the message, the
// hint, the code, that nothing is left, and that vault and source are as they were.
func TestFailures(t *testing.T) {
	t.Parallel()
	byKind := map[kind][]failure{}
	for _, f := range failures() {
		byKind[f.on] = append(byKind[f.on], f)
	}
	// Not t.Parallel: most wait most of the time, also on a machine with two
	// processors.
	var all sync.WaitGroup
	for k, rows := range byKind {
		all.Go(func() {
			t.Run(string(k), func(t *testing.T) {
				l := labs[k](t)
				for _, f := range rows {
					t.Run(f.group+" "+f.what, func(t *testing.T) {
						l.t = t
						f.happens(l)
					})
				}
				l.t = t
				l.ok("backup")
				l.sameAsSource()
			})
		})
	}
	all.Wait()
	t.Logf("%d rows:\n%s", len(failures()), failureTable())
}

// happens makes one failure happen on l, and mends it.
func (f failure) happens(l *lab) {
	t := l.t
	env := l.env
	mend := f.setup(l)
	before := l.onRemote()
	source, hasSource := l.sourceNow()
	had, ran := l.left(), processes(l.dir, l.mem)
	r := l.run(f.args...)

	message, hint := r.failure()
	message, hint = l.plainWords(message), l.plainWords(hint)
	if r.code != f.code || message != f.want || hint != f.hint {
		t.Errorf("%v ended with %d\nmessage: %s\nhint:    %s\nnot with %d\nmessage: %s\nhint:    %s\nall it said:\n%s",
			f.args, r.code, message, hint, f.code, f.want, f.hint, r.stdout+r.stderr)
	}
	said := l.plainWords(r.stdout + r.stderr)
	for _, s := range f.says {
		if !strings.Contains(said, s) {
			t.Errorf("it does not say %q:\n%s", s, said)
		}
	}
	for _, s := range []string{passphrase, wrongPassphrase} {
		if strings.Contains(r.stdout+r.stderr, s) {
			t.Errorf("it shows a secret: %s", r)
		}
		if files := holding([]string{s}, l.home, filepath.Join(l.mem, "run"), l.remote); len(files) > 0 {
			t.Errorf("a secret is in %v", files)
		}
	}

	news := func() (list []string) {
		for _, s := range l.left() {
			if !slices.Contains(had, s) {
				list = append(list, s)
			}
		}
		for _, pid := range processes(l.dir, l.mem) {
			if !slices.Contains(ran, pid) && !slices.Contains(l.hidden, pid) {
				list = append(list, fmt.Sprint("process ", pid))
			}
		}
		return list
	}
	left := news()
	for end := time.Now().Add(3 * time.Second); len(left) > 0 && time.Now().Before(end); left = news() {
		time.Sleep(10 * time.Millisecond) // see close
	}
	for _, s := range left {
		t.Error("left: ", s)
	}
	if f.grows {
		l.kept("the failure", before)
	} else {
		l.unchanged("the failure", before)
	}
	if again, ok := l.sourceNow(); ok != hasSource {
		t.Errorf("the source is there: %t, was %t", ok, hasSource)
	} else if ok && !f.shrinks {
		same(t, "the source", source, again)
	}
	if mend != nil {
		mend()
	}
	l.env = env
	for _, s := range l.left() {
		t.Error("left when it is mended: ", s)
	}
}

// sourceNow is the source as it is, if it is a folder.
func (l *lab) sourceNow() (compare.Tree, bool) {
	if fi, err := os.Stat(l.source); err != nil || !fi.IsDir() {
		return compare.Tree{}, false
	}
	return snapshot(l.t, l.source), true
}

// failure is the message and the hint with which a target ended.
func (r result) failure() (message, hint string) {
	_, message, ok := strings.Cut("\n"+r.stderr, "\nError: ")
	if !ok {
		return "", ""
	}
	message, hint, _ = strings.Cut(message, "\nhint: ")
	return strings.TrimSpace(message), strings.TrimSpace(hint)
}

var variable = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`pid \d+`), "pid PID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`SHA256:[A-Za-z0-9+/]{43}`), "FINGERPRINT"},
	{regexp.MustCompile(`127\.0\.0\.1(:| port )\d+`), "127.0.0.1${1}PORT"},
	{regexp.MustCompile(`\[127\.0\.0\.1\]:\d+`), "[127.0.0.1]:PORT"},
	{regexp.MustCompile(`port \d+`), "port PORT"},
	{regexp.MustCompile(`known_hosts:\d+`), "known_hosts:LINE"},
	{regexp.MustCompile(`/\.[.a-z-]+\d{6,}\b`), "/TEMPORARY"},
	{regexp.MustCompile(`REMOTE/[A-Za-z0-9_/-]+`), "REMOTE/ENCRYPTED"},
	{regexp.MustCompile(`guest/[0-9a-f]{16}`), "guest/ID"},
	{regexp.MustCompile(vaultName + `-[0-9a-f]{8}`), vaultName + "-ID"},
}

// plainWords puts a word in capitals for what differs from one run to the next.
func (l *lab) plainWords(s string) string {
	state := filepath.Join(l.home, ".local/state")
	s = strings.NewReplacer(
		"ssh -F "+l.ssh+" "+l.alias, "ssh HOST",
		l.alias+":backup/"+vaultName, "DESTINATION", l.alias+":backup/elsewhere", "DESTINATION",
		l.alias+":/fuseless-nowhere/"+vaultName, "DESTINATION",
		"("+l.alias+")", "(HOST)",
		l.runDir(), "RUNTIME", state, "STATE", filepath.Join(l.home, ".cache"), "CACHE",
		filepath.Join(l.dir, "bare"), "FOLDER",
		l.vault, "REMOTE", l.source, "SOURCE", l.mnt, "MOUNTPOINT", l.configFile(), "CONFIG", l.dir, "LAB",
	).Replace(s)
	for _, v := range variable {
		s = v.re.ReplaceAllString(s, v.by)
	}
	return s
}

var update = flag.Bool("update", false, "write the README's table of failures")

const (
	readmeFile  = "../README.md"
	tableBegins = "<!-- failures: written by go test ./magefiles -run TestFailureTable -update -->\n"
	tableEnds   = "<!-- /failures -->\n"
)

// failureTable is the README's table.
func failureTable() string {
	var b strings.Builder
	group := ""
	for _, f := range failures() {
		if f.group != group {
			group = f.group
			fmt.Fprintf(&b, "\n**%s**\n\n| what is wrong | what fuseless says | code |\n|---|---|---:|\n", group)
		}
		says := strings.TrimSpace(strings.Join(append(slices.Clone(f.says), f.want), "\n"))
		fmt.Fprintf(&b, "| %s | %s | %d |\n", f.what, cell(says), f.code)
	}
	return b.String() + "\n"
}

var repeated = regexp.MustCompile(`(d{8})d{20,}`)

// cell is text in a cell of a Markdown table.
func cell(s string) string {
	s = repeated.ReplaceAllString(s, "${1}...")
	s = strings.ReplaceAll(s, "\n\n", "\n")
	return strings.NewReplacer("|", "\\|", "\n", "<br>", "<", "&lt;", "*", "\\*", "_", "\\_").Replace(s)
}

// TestFailureTable: the README has the table.
func TestFailureTable(t *testing.T) {
	b, err := os.ReadFile(readmeFile)
	must(t, err)
	before, rest, ok := strings.Cut(string(b), tableBegins)
	old, after, ok2 := strings.Cut(rest, tableEnds)
	if !ok || !ok2 {
		t.Fatalf("README.md lacks %s or %s", tableBegins, tableEnds)
	}
	switch table := failureTable(); {
	case old == table:
	case *update:
		must(t, os.WriteFile(readmeFile, []byte(before+tableBegins+table+tableEnds+after), 0o644))
	default:
		t.Errorf("the README's table of failures is not that of the tests; run this with -update. It must be\n%s", table)
	}
}
