//go:build linux

package ops

import (
	"strings"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/proto"
	"fuseless/guest/rsync"
)

// change counts one itemised change, and reports it under its plaintext name
// if the host wants that.
func (b *backup) change(what, enc string) {
	if gocryptfs.Virtual(enc) {
		return
	}
	if strings.HasPrefix(what, "<f") || strings.HasPrefix(what, ">f") {
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
	enc := strings.TrimPrefix(quoted, b.image.Path+"/")
	enc = strings.TrimPrefix(enc, "/")
	p, ok := b.names.Decrypt(enc)
	if !ok {
		return l, ""
	}
	before = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(before, "rsync: "), "[sender] "), "[generator] "), "(")
	after = strings.TrimPrefix(strings.TrimSpace(after), ")")
	return strings.TrimSpace(strings.TrimSpace(before) + " " + strings.TrimSpace(after)), p
}
