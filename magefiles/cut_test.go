//go:build linux

package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fuseless/magefiles/netlab"
)

const (
	// filmSize is several times what is read ahead, and what is on its way in sockets.
	filmSize = 32 << 20
	// begunSize is how much of a film has arrived when its reading is cut.
	begunSize = 256 << 10
	// listSize is so much that the far side sends it in a dozen answers or more: sftp-server's have 100
	// entries each.
	listSize = 1500
	// underLoad is what other tests on the same machine may take of the time in which
	// something is to happen.
	underLoad = 15 * time.Second
)

// cutKind is a kind of request, in whose middle the link is cut.
type cutKind struct {
	name string
	link netlab.Link // so slow that no request ends before all have begun
	fill func(l *viewLab, folder string)
	// begin is the request's command, and what of the folder it asks for.
	begin func(r reader, a access, folder, to string) *exec.Cmd
	// begun says whether the requests of these readers, in these folders, are in their
	// middle.
	begun func(l *viewLab, asked []*asking) bool
	// right says what is wrong with what a request that ended well has got.
	right func(k *asking) error
}

const filmName, listName = "film", "list"

var cutKinds = []cutKind{
	{
		name: "GET",
		link: netlab.Link{RTT: 40 * time.Millisecond, Rate: 8_000_000},
		fill: func(l *viewLab, folder string) { l.large(folder+"/"+filmName, filmSize) },
		begin: func(r reader, a access, folder, to string) *exec.Cmd {
			return r.get(a, folder+"/"+filmName, to)
		},
		begun: func(l *viewLab, asked []*asking) bool {
			return !slices.ContainsFunc(asked, func(k *asking) bool {
				return !slices.ContainsFunc(k.arriving(l, filmName, k.to), func(f string) bool {
					fi, err := os.Stat(f)
					return err == nil && fi.Size() >= begunSize
				})
			})
		},
		right: func(k *asking) error {
			got, err := os.ReadFile(k.to)
			if err != nil {
				return err
			}
			want, err := os.ReadFile(filepath.Join(k.a.lab.source, k.folder, filmName))
			if err == nil && !bytes.Equal(got, want) {
				err = fmt.Errorf("%d bytes of %d, or others", len(got), len(want))
			}
			return err
		},
	},
	{
		name: "PROPFIND",
		link: netlab.Link{RTT: 40 * time.Millisecond, Rate: 64_000},
		fill: func(l *viewLab, folder string) {
			for i := range listSize {
				l.write(fmt.Sprintf("%s/%s/%d", folder, listName, i), "")
			}
		},
		begin: func(r reader, a access, folder, to string) *exec.Cmd { return r.list(a, folder+"/"+listName, to) },
		begun: func(l *viewLab, asked []*asking) bool { return l.listings() >= len(asked) },
		right: func(k *asking) error {
			got, err := k.names(k.stdout.Bytes(), k.to)
			if err != nil {
				return err
			}
			want := []string{}
			for i := range listSize {
				want = append(want, fmt.Sprint(i))
			}
			slices.Sort(got)
			slices.Sort(want)
			switch {
			case slices.Equal(got, want):
				return nil
			case len(got) == 0 && k.reader.name == "davfs2":
				return errEmpty
			}
			return fmt.Errorf("%d names of %d, or others", len(got), len(want))
		},
	},
}

// errEmpty is how davfs2 shows a folder that could not be listed (README.md).
var errEmpty = errors.New("an empty folder")

// listings is how many folders of listSize files the far side is giving a listing of.
func (l *linkLab) listings() int {
	folders := map[string]bool{}
	for _, pid := range descendants(l.sshd.Process.Pid) {
		if !isProgram(pid, "sftp-server") {
			continue
		}
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			folder, err := os.Readlink(fd)
			if err != nil || !strings.HasPrefix(folder, l.vault+"/") {
				continue
			}
			// Of a folder it is not zero once something of it was read.
			at, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(fd)), "fdinfo", filepath.Base(fd)))
			if err != nil || strings.HasPrefix(string(at), "pos:\t0\n") {
				continue
			}
			if entries, err := os.ReadDir(folder); err == nil && len(entries) >= listSize {
				folders[folder] = true
			}
		}
	}
	return len(folders)
}

// TestReadersOverCutLink: the link is cut while a large file is read, or a large folder
// is listed, that no cache has. Each reader gets all of it, or an error in time, and takes
// no part for the whole; afterwards it gets all, without anything being mounted anew.
func TestReadersOverCutLink(t *testing.T) {
	t.Parallel()
	for _, kind := range cutKinds {
		t.Run(kind.name, func(t *testing.T) {
			l := &viewLab{linkLab: newLinkLab(t)}
			needs(t, "curl", "rclone")
			needsDavFS(t)
			cuts := []time.Duration{10 * time.Second, 120 * time.Second}
			folder := func(cut time.Duration, r reader) string { return fmt.Sprintf("%v/%s", cut, r.name) }
			for _, cut := range cuts {
				for _, r := range readers() {
					kind.fill(l, folder(cut, r))
				}
			}
			must(t, os.Mkdir(l.path("got"), 0o700))
			l.ok("init")
			l.ok("backup")
			l.ok("remoteMount", "serve", "hostMount")
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			defer cancel()
			a := newAccess(ctx, l)
			for _, cut := range cuts {
				l.cutWhile(kind, a, cut, func(r reader) string { return folder(cut, r) })
			}
			l.ok("close")
		})
	}
}

// cutWhile cuts the link for a time while each reader is in the middle of its request.
func (l *viewLab) cutWhile(kind cutKind, a access, cut time.Duration, folder func(reader) string) {
	t := l.t
	l.net.SetLink(kind.link)
	var asked []*asking
	for _, r := range readers() {
		asked = append(asked, r.ask(kind, a, folder(r)))
		if r.name == "davfs2" {
			within(t, 2*time.Minute, kind.name+" by davfs2 is in its middle", func() bool { return kind.begun(l, asked) })
		}
	}
	within(t, 2*time.Minute, "each "+kind.name+" is in its middle", func() bool { return kind.begun(l, asked) })
	l.net.Cut()
	begin := time.Now()
	for _, k := range asked {
		if k.ended() {
			t.Fatalf("%s by %s ended before the cut: %v", kind.name, k.name, k.outcome())
		}
	}
	l.net.SetLink(swift)
	back := begin.Add(cut)
	defer time.AfterFunc(cut, l.net.Restore).Stop()

	what := fmt.Sprintf("%s, cut for %v", kind.name, cut)
	by := begin.Add(answerLimit + underLoad)
	if cut < answerLimit { // what goes on has all the rest to read
		by = by.Add(cut + time.Minute)
	}
	// They ask again and again, while the link is dead and then.
	for round := 0; ; round++ {
		good := true
		for _, k := range asked {
			err := k.judge(what, by)
			t.Logf("%s, round %d, %s: at %.1f s: %v", what, round, k.name, k.at.Sub(begin).Seconds(), err)
			if err == nil && k.at.Before(back) {
				t.Errorf("%s, %s: there, though the link is dead", what, k.name)
			}
			if good = good && err == nil; err != nil && asked[0].began.After(back.Add(answerLimit)) {
				t.Fatalf("%s, %s: it does not recover: %v", what, k.name, err)
			}
		}
		if good && round > 0 {
			return
		}
		time.Sleep(3 * time.Second) // nothing tells when it can be had
		for i, k := range asked {
			asked[i] = k.reader.ask(kind, a, k.folder)
		}
		by = time.Now().Add(answerLimit + underLoad)
	}
}
