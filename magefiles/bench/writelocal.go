package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fuseless/guest/proto"
)

// What a writing scene writes, in a folder of its own.
const (
	putFolder = "put"
	putConns  = 8
)

// bestOfPuts is how many of one server in a run count, of those that write.
const bestOfPuts = 2

// localWriteNote is what the numbers do not tell.
var localWriteNote = fmt.Sprintf(`- Each cell is the slowest of the runs and, in brackets, how many times as long as fuseless it took at least, within a run:
  above 1, fuseless was faster, also where a rate is given. In a run the servers take turns, and the best of %d counts.
- fuseless answers when file and folder are on disk (fsync(2) of both), after it has written beside the old file and renamed. The others sync
  nothing: what they have answered lies in the kernel's memory for up to half a minute, and is lost when the power fails. "Then synced" is with a
  syncfs(2) at the end, which makes up for that, but once for all files, and not before each answer.
- The others, but for nginx, write into the file itself: broken off, it is a part.
- Each time the files are new, and everything before is on disk. Client and servers share the processors. What then lies in the folder was compared.
- fuseless asks for user and password with every request, as it always does; the others ask nobody.
- obvious is golang.org/x/net/webdav's handler.
`, bestOfPuts)

// makeEmpty makes what is written, and the folder, into which apache writes as nobody.
func (l *folder) makeEmpty() error {
	l.noises()
	err := os.MkdirAll(l.dir, 0o755)
	if err == nil {
		err = os.Chmod(l.dir, 0o777)
	}
	if err != nil {
		return proto.Errorf(proto.NoSpace, "cannot make the files: %w", err)
	}
	return nil
}

func localWriteScenes() []localScene {
	film := localPut{put: func(ctx context.Context, c *davClient, l *folder) error {
		return c.putOne(ctx, putFolder+"/"+filmName, l.pattern, l.filmSize())
	}, right: func(l *folder) error {
		f, err := os.Open(filepath.Join(l.dir, putFolder, filmName))
		if err != nil {
			return err
		}
		defer f.Close()
		return repeats(f, l.pattern, l.filmSize())
	}, show: func(l *folder, d time.Duration) string {
		return fmt.Sprintf("%.3g Gbit/s", float64(l.filmSize())*8/1e9/d.Seconds())
	}}
	small := localPut{put: func(ctx context.Context, c *davClient, l *folder) error {
		return c.many(ctx, putConns, l.size, func(k *keepAlive, n int) error {
			return k.put(l.putName(n), l.contents[n%len(l.contents)], smallSize)
		})
	}, right: func(l *folder) error {
		for n := range l.size {
			b, err := os.ReadFile(filepath.Join(l.dir, l.putName(n)))
			if err != nil {
				return err
			}
			if !bytes.Equal(b, l.contents[n%len(l.contents)]) {
				return proto.Errorf(proto.Different, "%s is not what was put", l.putName(n))
			}
		}
		return nil
	}, show: func(l *folder, d time.Duration) string { return fmt.Sprintf("%.0f/s", float64(l.size)/d.Seconds()) }}
	return []localScene{
		film.scene("1 GiB put"),
		small.scene("10,000 times 4 KiB put, 8 connections"),
	}
}

// putName is the file with a number.
func (l *folder) putName(n int) string { return fmt.Sprintf("%s/note%05d.txt", putFolder, n) }

// localPut is a way to write into putFolder, which is there and empty.
type localPut struct {
	put   func(ctx context.Context, c *davClient, l *folder) error
	right func(l *folder) error
	show  func(l *folder, d time.Duration) string
}

// scene measures it, and how long it takes until all that was written is durable.
func (p localPut) scene(name string) localScene {
	var synced time.Duration
	return localScene{name: name, times: 1 + bestOfPuts, take: func(ctx context.Context, c *davClient, l *folder) (time.Duration, error) {
		dir := filepath.Join(l.dir, putFolder)
		if err := os.RemoveAll(dir); err != nil {
			return 0, err
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return 0, err
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			return 0, err
		}
		if err := syncFolder(dir); err != nil { // nobody's writing is to meet that of another
			return 0, err
		}
		d, err := timed(func() error { return p.put(ctx, c, l) }, nil)
		if err != nil {
			return 0, err
		}
		more, err := timed(func() error { return syncFolder(dir) }, func() error { return p.right(l) })
		synced = d + more
		return d, err
	}, show: p.show, alsoName: name + ", then synced", also: func() time.Duration { return synced }}
}
