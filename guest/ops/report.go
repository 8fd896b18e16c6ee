//go:build linux

package ops

import (
	"path"
	"regexp"
	"strings"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/rsync"
)

// change counts one itemised change, and reports it under its plaintext name
// if the host wants that.
func (b *backup) change(what, enc string) {
	if gocryptfs.Virtual(enc) {
		b.own = true
		return
	}
	if (strings.HasPrefix(what, "<f") || strings.HasPrefix(what, ">f")) && !b.named[enc] {
		b.result.UserFiles++
	}
	if !b.Backup.Changes || what == ".d..t......" { // a folder's time: something in it changed
		return
	}
	if plain, ok := b.names.Decrypt(enc); ok {
		b.event(proto.Event{Kind: proto.KindChange, Change: &proto.Change{What: what, Path: []byte(plain)}})
	}
}

// fault records rsync's messages, with plaintext paths.
func (b *backup) fault(res *rsync.Result) {
	for _, l := range res.Errors {
		what, p := b.plain(l)
		b.faults.add(what, p)
	}
}

// plain replaces the path in one of rsync's messages, such as
//
//	rsync: [sender] opendir "/run/…/image/Xy" failed: Permission denied (13)
//
// by its plaintext, and splits it into what happened and where.
func (b *backup) plain(l string) (what, where string) {
	before, rest, ok := strings.Cut(l, "\"")
	if !ok {
		return l, ""
	}
	quoted, after, ok := strings.Cut(rest, "\"")
	if !ok {
		return l, ""
	}
	p, ok := b.names.Decrypt(b.inVault(quoted))
	if !ok {
		return l, ""
	}
	before = strings.TrimPrefix(before, "rsync: ")
	for _, who := range []string{"[sender] ", "[generator] "} {
		before = strings.TrimPrefix(before, who)
	}
	before = strings.Replace(before, "[receiver] ", "the remote: ", 1)
	before = strings.TrimRight(before, "( ")
	after = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(after), ")"))
	if !strings.HasPrefix(after, ":") && after != "" {
		after = " " + after
	}
	what = strings.TrimSuffix(before+after, ":")
	if strings.Contains(what, "File name too long") {
		what += " in its encrypted form" // by itself it may be short enough
	}
	return what, p
}

// receiving is the end of the name that rsync's receiver gives a file until it
// is whole: .NAME.XXXXXX (receiver.c, get_tmpname).
var receiving = regexp.MustCompile(`\.[A-Za-z0-9]{6}$`)

// inVault is the path in the vault of what a message of rsync's names: on this
// side a path in the image, on the other a whole path, or one of a file that is
// being received.
func (b *backup) inVault(quoted string) string {
	enc, ok := strings.CutPrefix(quoted, b.image.Path+"/")
	if !ok {
		if _, below, there := strings.Cut(quoted, "/"+strings.Trim(b.Destination.Path, "./")+"/"); there {
			enc = below
		}
	}
	enc = strings.TrimPrefix(enc, "/")
	dir, name := path.Split(enc)
	if hidden, ok := strings.CutPrefix(name, "."); ok && receiving.MatchString(name) {
		enc = dir + receiving.ReplaceAllString(hidden, "")
	}
	return enc
}
