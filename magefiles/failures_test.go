//go:build linux

package main_test

import (
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
// wrong, and how a target then ends. What mends itself has the code OK: then want
// is all that is said besides the steps, and source and vault must be as they
// were before the fault. To add one, append it to the slice of its
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

	opens  bool          // a view is mounted then: it must show the source, and is taken down
	within time.Duration // it must not take longer, if this is not 0
}

// failures are all rows, in the order of the table.
func failures() (all []failure) {
	for _, rows := range [][]failure{passphraseFailures, sourceFailures, remoteFailures, silentFailures,
		vaultFailures, keyFailures, hostFailures, staleFailures, twiceFailures} {
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
	alone3 kind = "alone 3"

	fresh kind = "fresh" // without a vault
	views kind = "views" // for what takes long, as do the next
	keys  kind = "keys"
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
	alone3: func(t *testing.T) *lab { return newLab(t).started() },
	views:  func(t *testing.T) *lab { return newLab(t).started() },
	keys:   func(t *testing.T) *lab { return newLab(t).started() },
	fresh: func(t *testing.T) *lab {
		l := newLab(t)
		l.fill()
		return l
	},
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
	defer func() {
		if t.Failed() {
			l.showLogs()
		}
	}()
	env := l.env
	whole, wholeSource := l.onRemote(), snapshot(t, l.source)
	mend := f.setup(l)
	before := l.onRemote()
	source, hasSource := l.sourceNow()
	had, ran := l.left(), l.commands()
	begun := time.Now()
	r := l.run(f.args...)
	took := time.Since(begun)

	message, hint := r.failure()
	if f.code == proto.OK && message == "" {
		message = r.notes()
	}
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

	if f.within > 0 && took > f.within {
		t.Errorf("it took %v", took)
	}
	if f.opens {
		l.showsSource()
		l.ok("down")
	}

	news := func() (list []string) {
		for _, s := range l.left() {
			if !slices.Contains(had, s) {
				list = append(list, s)
			}
		}
		// By what they are, not by their numbers: a view that stays may have to
		// connect again, where the machine stood still for a while.
		for c, n := range l.commands() {
			if n > ran[c] {
				list = append(list, fmt.Sprintf("%d times, not %d: %s", n, ran[c], c))
			}
		}
		return list
	}
	for _, s := range lasting(news) {
		t.Error("left: ", s)
	}
	switch {
	case f.code == proto.OK:
		l.kept("what mends itself", whole)
	case f.grows:
		l.kept("the failure", before)
	default:
		l.unchanged("the failure", before)
	}
	if again, ok := l.sourceNow(); ok != hasSource {
		t.Errorf("the source is there: %t, was %t", ok, hasSource)
	} else if f.code == proto.OK {
		same(t, "the source", wholeSource, butForKey(wholeSource, again))
	} else if ok && !f.shrinks {
		same(t, "the source", source, again)
	}
	if mend != nil {
		mend()
	}
	l.env = env
	for _, s := range lasting(l.left) {
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
	{regexp.MustCompile(`\b\d{8}T\d{6,9}Z`), "TIME"},
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
