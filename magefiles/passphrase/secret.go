package passphrase

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[secret]"

// Secret holds a passphrase and prints as "[secret]" wherever it ends up by
// accident: fmt, log/slog, JSON, YAML. Copies share the same bytes, so one Wipe is
// enough.
//
// The bytes are inside a function because fmt does not call the methods of an
// unexported field: of a struct that holds a Secret it would print the bytes, in
// some cases also those behind a pointer. Of a function it prints the address.
type Secret struct{ reveal func() []byte }

// NewSecret makes a Secret that owns b: the caller must not use b any more.
func NewSecret(b []byte) Secret { return Secret{func() []byte { return b }} }

// Reveal is the passphrase itself, not a copy: after Wipe it is zeros. It is
// nil for the zero Secret.
func (s Secret) Reveal() []byte {
	if s.reveal == nil {
		return nil
	}
	return s.reveal()
}

// Wipe overwrites the passphrase. What the runtime, a keyring library or a
// pipe copied before is beyond reach.
func (s Secret) Wipe() { clear(s.Reveal()) }

func (s Secret) String() string { return redacted }

// GoString is for %#v.
func (s Secret) GoString() string { return redacted }

// Format redacts every verb, also %x and %d, which do not call String.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText is for JSON map keys, YAML and XML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON is for encoding/json.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue is for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
