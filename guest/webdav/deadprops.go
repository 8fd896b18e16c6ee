package webdav

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"time"
)

// PropFS is the FS that keeps what clients attach to its entries.
type PropFS interface {
	// Properties is what SetProperties has set for name; nil: nothing, also where
	// nothing can be kept.
	Properties(ctx context.Context, name string) ([]byte, error)
	// SetProperties replaces it, whole; it is gone if it is empty. The error is
	// errors.ErrUnsupported where nothing can be kept, and syscall.ENOSPC for more than
	// there is room for. It stays with name when that is renamed, or replaced by an Upload.
	SetProperties(ctx context.Context, name string, props []byte) error
	// SetModTime sets the modification time.
	SetModTime(ctx context.Context, name string, t time.Time) error
}

// deadProp is a property that a client made, of which the server knows no more (RFC 4918 4.1).
type deadProp struct {
	name xml.Name
	text xmlText // the element, with its value
}

// deadPropsMax bounds the dead properties of an entry, in bytes: some file systems have no
// more room (ext4: a block of 4 KiB for all extended attributes).
const deadPropsMax = 3 << 10

// parseDeadProps parses what SetProperties has: one element after the other.
func parseDeadProps(b []byte) (props []deadProp, err error) {
	dec := xml.NewDecoder(bytes.NewReader(b))
	for {
		t, err := dec.Token()
		if err == io.EOF {
			return props, nil
		}
		if err != nil {
			return nil, err
		}
		if start, ok := t.(xml.StartElement); ok {
			p := deadProp{name: start.Name}
			if err := p.text.UnmarshalXML(dec, start); err != nil {
				return nil, err
			}
			props = append(props, p)
		}
	}
}

func joinDeadProps(props []deadProp) []byte {
	var b []byte
	for _, p := range props {
		b = append(b, p.text...)
	}
	return b
}

// deadPropsOf are those of name. What cannot be read is an error, also where it is not XML:
// writing would drop it.
func (s *Server) deadPropsOf(ctx context.Context, name string) ([]deadProp, error) {
	if s.props == nil {
		return nil, nil
	}
	b, err := s.props.Properties(ctx, name)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return parseDeadProps(b)
}
