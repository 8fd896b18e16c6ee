package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"time"
)

// member is a file of an archive.
type member struct {
	name, file string
	mode       int64
}

// archive is a .tar.gz of the members in their order. What it says of them is
// their name, size and mode, and when as their date: it has no owner, and gzip's
// header neither a date nor a name.
func archive(when time.Time, members []member) ([]byte, error) {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	for _, m := range members {
		content, err := os.ReadFile(m.file)
		if err != nil {
			return nil, err
		}
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: m.name, Mode: m.mode, Size: int64(len(content)),
			ModTime: when, Format: tar.FormatUSTAR,
		}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write(content); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}
