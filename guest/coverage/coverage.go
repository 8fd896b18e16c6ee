// Package coverage remembers which files of a vault were read well, and when,
// so that a share of it can be read at a time, oldest first.
//
// The state is two files. `verify.coverage` holds records sorted by key, and is
// replaced as a whole at the end of a run; `verify.journal` gets a record for
// each file as soon as it is read, so that a run which is killed counts. Both
// are hints: what is broken or from the future is as if it was never read.
package coverage

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// Key stands for a file of a vault.
type Key [16]byte

// KeyOf is the key of a path in the vault at a destination: the beginning of
// their SHA-256, so that no name of a file lies in the state.
func KeyOf(destination, path string) (k Key) {
	sum := sha256.Sum256([]byte(destination + "\x00" + path))
	copy(k[:], sum[:])
	return k
}

// Record says that a file was read to its end without an error.
type Record struct {
	Key   Key
	Size  int64 // bytes, as the view shows it
	Mtime int64 // nanoseconds since 1970, as the remote shows it
	Read  int64 // when, seconds since 1970
}

// recordSize is the length of a Record in a file, and magic what stands before
// the records. Numbers are big-endian.
const (
	recordSize = 40
	magic      = "fuseless coverage 1\n"
)

// Store is the state of one vault. It takes 40 bytes of memory for a file.
type Store struct {
	dir     string
	records []Record // sorted by key, one for each

	mu      sync.Mutex
	journal *os.File
}

func (s *Store) file(name string) string { return filepath.Join(s.dir, "verify."+name) }

// Open reads the state in the folder dir.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir}
	for _, name := range []string{"coverage", "journal"} {
		b, err := os.ReadFile(s.file(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read what was verified before: %w", err)
		}
		b, ok := bytes.CutPrefix(b, []byte(magic))
		for ok && len(b) >= recordSize { // a torn record at the end does not count
			s.records = append(s.records, decode(b))
			b = b[recordSize:]
		}
	}
	s.sort()
	return s, nil
}

// sort sorts by key and keeps the latest of those that have the same.
func (s *Store) sort() {
	slices.SortFunc(s.records, func(a, b Record) int {
		return cmp.Or(bytes.Compare(a.Key[:], b.Key[:]), cmp.Compare(b.Read, a.Read))
	})
	s.records = slices.CompactFunc(s.records, func(a, b Record) bool { return a.Key == b.Key })
}

// Read is when the file was last read, in seconds since 1970; 0 if it was not,
// or has another size or time since.
func (s *Store) Read(k Key, size, mtime int64, now time.Time) int64 {
	i, ok := slices.BinarySearchFunc(s.records, k, func(r Record, k Key) int { return bytes.Compare(r.Key[:], k[:]) })
	if !ok {
		return 0
	}
	if r := s.records[i]; r.Size == size && r.Mtime == mtime && r.Read <= now.Unix() {
		return r.Read
	}
	return 0
}

// Add notes that a file was read. It may be called by several goroutines; Read
// does not see it.
func (s *Store) Add(r Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal == nil {
		f, err := os.OpenFile(s.file("journal"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return fmt.Errorf("note what was verified: %w", err)
		}
		s.journal = f
		fi, err := f.Stat()
		if err == nil && (fi.Size() < int64(len(magic)) || (fi.Size()-int64(len(magic)))%recordSize != 0) {
			// A torn end would shift all that follows. What was whole is in records.
			if err = f.Truncate(0); err == nil {
				_, err = f.Write(s.encoded(s.records))
			}
		}
		if err != nil {
			return fmt.Errorf("note what was verified: %w", err)
		}
	}
	if _, err := s.journal.Write(encode(nil, r)); err != nil {
		return fmt.Errorf("note what was verified: %w", err)
	}
	return nil
}

// Keep replaces the state by records, in any order: those of all the files that
// the vault has.
func (s *Store) Keep(records []Record) error {
	if err := s.Close(); err != nil {
		return err
	}
	s.records = records
	s.sort()
	if err := renameio.WriteFile(s.file("coverage"), s.encoded(s.records), 0o600); err != nil {
		return fmt.Errorf("note what was verified: %w", err)
	}
	if err := os.Remove(s.file("journal")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note what was verified: %w", err)
	}
	return nil
}

// Close keeps the journal as it is, for the next run.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal == nil {
		return nil
	}
	f := s.journal
	s.journal = nil
	return errors.Join(f.Sync(), f.Close())
}

func (s *Store) encoded(records []Record) []byte {
	b := make([]byte, 0, len(magic)+len(records)*recordSize)
	b = append(b, magic...)
	for _, r := range records {
		b = encode(b, r)
	}
	return b
}

func encode(b []byte, r Record) []byte {
	b = append(b, r.Key[:]...)
	for _, n := range []int64{r.Size, r.Mtime, r.Read} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

func decode(b []byte) (r Record) {
	copy(r.Key[:], b)
	for i, n := range []*int64{&r.Size, &r.Mtime, &r.Read} {
		*n = int64(binary.BigEndian.Uint64(b[16+8*i:]))
	}
	return r
}
