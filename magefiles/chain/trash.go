package chain

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"

	"fuseless/guest/proto"
	"fuseless/magefiles/screen"
)

// Trash tells what lies in the trash of each vault and when it goes. With list,
// a date, it prints the names of the files of that entry.
func (c *Chain) Trash(ctx context.Context, list string) error {
	if list == "" {
		return c.each(ctx, func(v *vault) error { return v.trash(ctx, nil) })
	}
	v, err := c.one()
	if err != nil {
		return err
	}
	defer v.screen.Done()
	pick, err := proto.ParseTrashPick(list, time.Local)
	if err != nil {
		return err
	}
	return v.trash(ctx, &pick)
}

func (v *vault) trash(ctx context.Context, names *proto.TrashPick) error {
	var programs []string
	if names != nil {
		programs = []string{"gocryptfs", "fusermount3"}
	}
	if err := v.require(programs...); err != nil {
		return err
	}
	unlock, err := v.state.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	req := v.request(proto.OpTrash)
	if names != nil {
		if req.Passphrase, err = v.passphrase(ctx); err != nil {
			return err
		}
	}
	socket, stop, err := v.bridge(ctx, true)
	if err != nil {
		return err
	}
	defer stop()
	req.Destination.Socket = socket
	req.Trash = proto.TrashOptions{KeepDays: v.KeepDeleted, Names: names}
	var res *proto.TrashResult
	err = v.do(ctx, req, func(e proto.Event) {
		if e.Trash != nil {
			res = e.Trash
		}
	})
	if err != nil {
		return err
	}
	v.screen.Done()
	if res == nil {
		return proto.Errorf(proto.Internal, "the guest told nothing of the trash")
	}
	if names != nil {
		return v.showNames(names.Text, res)
	}
	showTrash(v.screen.Out, v.Name, res, time.Now(), time.Local)
	return nil
}

// showNames prints the paths of the one entry that has them.
func (v *vault) showNames(text string, res *proto.TrashResult) error {
	for _, r := range res.Runs {
		for _, n := range r.Names {
			fmt.Fprintln(v.screen.Out, screen.Quote([]byte(n)))
		}
		if r.More > 0 {
			v.screen.Say("and %s more files; %s are listed at most", humanize.Comma(r.More), humanize.Comma(proto.MaxTrashNames))
		}
		if r.Lost > 0 {
			return proto.Errorf(proto.Incomplete, "%s of %s in the trash cannot be decrypted; they are listed with their encrypted names", count(r.Lost, "name", "names"), text).
				WithHint("their names are damaged, or neither in the vault nor in the trash any more")
		}
	}
	return nil
}

// showTrash prints a line for each entry: date in the zone loc, files, bytes,
// when it goes, name.
func showTrash(w io.Writer, vault string, res *proto.TrashResult, now time.Time, loc *time.Location) {
	var shown, empty int64
	for _, r := range res.Runs {
		if r.Empty() {
			empty++
			continue
		}
		shown++
		more := ""
		if r.Unreadable > 0 {
			more = fmt.Sprintf(", and %s that may not be read", count(r.Unreadable, "folder", "folders"))
		}
		fmt.Fprintf(w, "%s: %s  %12s %10s  %s  %s%s\n", vault, r.Time.In(loc).Format(time.DateTime),
			count(r.Files, "file", "files"), humanize.IBytes(uint64(r.Bytes)), goes(r, res.Ahead, now, loc), r.Name, more)
	}
	if shown == 0 {
		fmt.Fprintf(w, "%s: no file is in the trash\n", vault)
	}
	if empty > 0 {
		fmt.Fprintf(w, "%s: %s with no file of yours\n", vault, count(empty, "more entry", "more entries"))
	}
	if res.Ahead != "" {
		fmt.Fprintf(w, "%s: the date of %s is to come: is a clock wrong, or was it? nothing is removed from the trash as long as this is so\n", vault, res.Ahead)
	}
	if res.Foreign > 0 {
		fmt.Fprintf(w, "%s: %s that fuseless did not put there, and does not remove\n", vault, count(res.Foreign, "entry", "entries"))
	}
}

// goes says when a backup removes an entry.
func goes(r proto.TrashRun, ahead string, now time.Time, loc *time.Location) string {
	switch {
	case r.Expires.IsZero() || ahead != "":
		return "stays"
	case !r.Expires.After(now):
		return "goes with the next backup that changes something"
	}
	return "stays until " + r.Expires.In(loc).Format("2006-01-02 15:04")
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(n) + " " + many
}
