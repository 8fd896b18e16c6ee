//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// search finds which of the needles are in a file, and where first, in bytes
// from its beginning. It passes over the holes of a sparse file.
func search(file string, needles map[string][]byte) (map[string]int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	longest := 0
	for _, n := range needles {
		longest = max(longest, len(n))
	}
	hits := map[string]int64{}
	buf := make([]byte, 4<<20+longest)
	kept := 0 // bytes of the last chunk, where a needle may begin
	var at int64
	for {
		data, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return hits, nil // nothing but a hole
		} else if err != nil {
			data = at // a file system without holes
		}
		if data != at {
			kept = 0
		}
		n, err := f.ReadAt(buf[kept:], data)
		chunk := buf[:kept+n]
		for name, needle := range needles {
			if _, known := hits[name]; known || len(needle) == 0 {
				continue
			}
			if i := bytes.Index(chunk, needle); i >= 0 {
				hits[name] = data - int64(kept) + int64(i)
			}
		}
		at = data + int64(n)
		if err == io.EOF {
			return hits, nil
		} else if err != nil {
			return nil, err
		}
		kept = copy(buf, chunk[max(0, len(chunk)-longest):])
	}
}
