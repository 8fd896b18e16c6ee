//go:build linux

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"fuseless/guest/gocryptfs"

	"fuseless/guest/proto"
)

// movedAside moves the source away, and puts with in its place.
func movedAside(with func(l *lab)) func(l *lab) func() {
	return func(l *lab) func() {
		must(l.t, os.Rename(l.source, l.path("aside")))
		if with != nil {
			with(l)
		}
		return func() {
			must(l.t, os.RemoveAll(l.source))
			must(l.t, os.Rename(l.path("aside"), l.source))
		}
	}
}

// closed takes the permissions of something in the source away.
func closed(name string) func(l *lab) func() {
	return func(l *lab) func() {
		p := filepath.Join(l.source, name)
		fi, err := os.Stat(p)
		must(l.t, err)
		must(l.t, os.Chmod(p, 0))
		return func() { must(l.t, os.Chmod(p, fi.Mode())) }
	}
}

// variableOf sets a FUSELESS_ variable of the vault.
func variableOf(field string, value func(l *lab) string) func(l *lab) func() {
	return func(l *lab) func() {
		l.env = append(l.env, "FUSELESS_VAULT_PHOTOS_"+field+"="+value(l))
		return nil
	}
}

// vanishing removes two files while the first of them is being sent.
func vanishing(l *lab) func() {
	bin := l.path("slow rsync")
	must(l.t, os.MkdirAll(bin, 0o755))
	l.slowRsync(bin)
	names := []string{"folder 1/large 1", "folder 1/large 2"}
	for _, n := range names {
		l.write(n, strings.Repeat("slow", 100_000))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
			if temporary, _ := filepath.Glob(filepath.Join(l.vault, "*", ".*.??????")); len(temporary) > 0 {
				break
			}
		}
		for _, n := range names {
			_ = os.Remove(filepath.Join(l.source, n))
		}
	}()
	return func() {
		<-done
		must(l.t, os.RemoveAll(bin))
	}
}

var sourceFailures = []failure{
	{group: "Source", what: "it is missing", on: near, args: []string{"backup"}, setup: movedAside(nil),
		want: "cannot read the source: stat SOURCE: no such file or directory",
		hint: "is its disk mounted? nothing was changed on the remote",
		code: proto.Source},
	{group: "Source", what: "it is a file", on: near, args: []string{"backup"}, setup: movedAside(func(l *lab) {
		must(l.t, os.WriteFile(l.source, nil, 0o600))
	}),
		want: "the source SOURCE is not a folder",
		hint: "correct `source:` in CONFIG",
		code: proto.Source},
	{group: "Source", what: "it cannot be read", on: ordinary, args: []string{"backup"}, setup: closed(""),
		want: "cannot read the vault's configuration: open SOURCE/.gocryptfs.reverse.conf: permission denied",
		hint: "the source must be readable by you; nothing was changed on the remote",
		code: proto.Source},
	{group: "Source", what: "a folder in it cannot be read", on: ordinary, args: []string{"backup"}, setup: closed("folder 1"), grows: true,
		says: []string{"not backed up: readdir: Permission denied (13): folder 1"},
		want: "the backup of photos is incomplete: some files were not transferred; nothing was deleted",
		hint: "they are listed above; mend what keeps them from being read or written, and run it again",
		code: proto.Incomplete},
	{group: "Source", what: "a file in it cannot be read", on: ordinary, args: []string{"backup"}, setup: func(l *lab) func() {
		l.write("folder 1/new", "new")
		mend := closed("folder 1/new")(l)
		return func() { mend(); l.remove("folder 1/new") }
	}, grows: true,
		says: []string{"not backed up: send_files failed to open: Permission denied (13): folder 1/new"},
		want: "the backup of photos is incomplete: some files were not transferred; nothing was deleted",
		hint: "they are listed above; mend what keeps them from being read or written, and run it again",
		code: proto.Incomplete},
	{group: "Source", what: "it was emptied", on: near, args: []string{"backup"}, setup: func(l *lab) func() {
		aside(l, func(name string) bool { return name != gocryptfs.ReverseConfigName })
		return func() { back(l) }
	}, grows: true,
		want: "the source SOURCE has no files any more; all 36 entries were kept in DESTINATION",
		hint: "is its disk mounted? to empty the vault as well, run `fuseless backup` on a terminal and answer the question",
		code: proto.Consent},
	{group: "Source", what: "it is inside the mountpoint", on: near, args: []string{"backup"},
		setup: variableOf("MOUNTPOINT", func(l *lab) string { return filepath.Dir(l.source) }),
		want:  "configuration CONFIG: vaults.photos.mountpoint: LAB holds the source of photos, SOURCE (FUSELESS_VAULT_PHOTOS_MOUNTPOINT)",
		hint:  "correct what is named; nothing was started",
		code:  proto.Config},
	{group: "Source", what: "the mountpoint is inside it", on: near, args: []string{"backup"},
		setup: variableOf("MOUNTPOINT", func(l *lab) string { return filepath.Join(l.source, "view") }),
		want:  "configuration CONFIG: vaults.photos.mountpoint: SOURCE/view is inside the source of photos, SOURCE (FUSELESS_VAULT_PHOTOS_MOUNTPOINT)",
		hint:  "correct what is named; nothing was started",
		code:  proto.Config},
	{group: "Source", what: "it changes while it is read", on: box, args: []string{"backup"}, says: []string{"not backed up: file has vanished: folder 1/large "}, setup: vanishing, grows: true, shrinks: true,
		want: "the backup of photos is incomplete: some files were not transferred; nothing was deleted",
		hint: "they are listed above; mend what keeps them from being read or written, and run it again",
		code: proto.Incomplete},
	{group: "Source", what: "a symlink's target is too long for the encrypted form", on: near, args: []string{"backup"}, setup: func(l *lab) func() {
		must(l.t, os.Symlink(strings.Repeat("t/", 1700), filepath.Join(l.source, "folder 1", "far")))
		return func() { l.remove("folder 1/far") }
	}, grows: true,
		says: []string{"not backed up: readlink_stat failed: File name too long (36) in its encrypted form: folder 1/far"},
		want: "the backup of photos is incomplete: some files were not transferred; nothing was deleted",
		hint: "they are listed above; mend what keeps them from being read or written, and run it again",
		code: proto.Incomplete},
	{group: "Source", what: "a path is too long for the encrypted form", on: alone1, args: []string{"backup"}, setup: func(l *lab) func() {
		deep := strings.Repeat("/"+strings.Repeat("d", 160), 19)
		must(l.t, os.MkdirAll(filepath.Join(l.source, "folder 1", deep), 0o755))
		l.write("folder 1"+deep+"/file", "deep")
		return func() { l.remove("folder 1/" + strings.Repeat("d", 160)) }
	}, grows: true,
		says: []string{"not backed up: opendir failed: File name too long (36) in its encrypted form: folder 1/" + strings.Repeat("d", 160) + "/"},
		want: "the backup of photos is incomplete: some files were not transferred; nothing was deleted",
		hint: "they are listed above; mend what keeps them from being read or written, and run it again",
		code: proto.Incomplete},
}
