package passphrase

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/zalando/go-keyring"

	"fuseless/guest/proto"
)

func command(t *testing.T, script string) (Secret, *bytes.Buffer, error) {
	t.Helper()
	var stderr bytes.Buffer
	s, err := Get(t.Context(), Source{Kind: Command, Vault: "photos", Command: []string{"sh", "-c", script}}, Options{Stderr: &stderr})
	return s, &stderr, err
}

func TestCommand(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"line":            {"echo secret", "secret"},
		"no newline":      {"printf secret", "secret"},
		"spaces stay":     {"printf ' a b \n'", " a b "},
		"nothing on read": {"cat; echo secret", "secret"},
		"longest":         {"head -c 2048 /dev/zero | tr '\\0' x; echo", strings.Repeat("x", 2048)},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, err := command(t, c.script)
			if err != nil || string(s.Reveal()) != c.want {
				t.Errorf("got %q, %v", s.Reveal(), err)
			}
		})
	}
}

func TestCommandRefused(t *testing.T) {
	for name, c := range map[string]struct{ script, says string }{
		"empty":           {"true", "empty"},
		"empty line":      {"echo", "empty"},
		"two lines":       {"echo planted; echo user: me", "more than one line"},
		"blank line":      {"echo planted; echo", "more than one line"},
		"carriage return": {"printf 'planted\\r\\n'", "line break"},
		"NUL":             {"printf 'planted\\0x\\n'", "NUL"},
		"long":            {"head -c 2049 /dev/zero | tr '\\0' x; echo", "more than 2048 bytes"},
		"endless":         {"yes planted", "more than 2048 bytes"},
		"fails":           {"echo planted; exit 3", "exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := command(t, c.script)
			if proto.CodeOf(err) != proto.Passphrase || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("got %v, want %q with code passphrase", err, c.says)
			}
			if strings.Contains(fmt.Sprint(err), "planted") {
				t.Errorf("the error tells the passphrase: %v", err)
			}
		})
	}
}

func TestCommandStderrIsPassedOn(t *testing.T) {
	_, stderr, err := command(t, "echo locked >&2; exit 1")
	if got := stderr.String(); got != "locked\n" {
		t.Errorf("standard error %q", got)
	}
	if err == nil || !strings.Contains(err.Error(), "passphrase command sh failed") {
		t.Errorf("the error does not name the program: %v", err)
	}
}

func TestCommandMissing(t *testing.T) {
	_, err := Get(t.Context(), Source{Kind: Command, Command: []string{"/nonexistent/pw", "a"}}, Options{})
	if proto.CodeOf(err) != proto.Passphrase || !strings.Contains(err.Error(), "pw") {
		t.Errorf("got %v", err)
	}
}

func TestCommandHasNoFuselessVariables(t *testing.T) {
	t.Setenv("FUSELESS_TEST_X", "1")
	s, _, err := command(t, `echo "x$FUSELESS_TEST_X"`)
	if err != nil || string(s.Reveal()) != "x" {
		t.Errorf("got %q, %v", s.Reveal(), err)
	}
}

func TestCommandCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := Get(ctx, Source{Kind: Command, Command: []string{"sleep", "60"}}, Options{})
	if proto.CodeOf(err) != proto.Interrupted || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestKeyring(t *testing.T) {
	keyring.MockInit()
	if err := Store("photos", NewSecret([]byte("from the ring"))); err != nil {
		t.Fatal(err)
	}
	if s, err := keyring.Get("fuseless", "photos"); err != nil || s != "from the ring" {
		t.Errorf("stored %q, %v", s, err)
	}
	for _, get := range []func(context.Context, Source, Options) (Secret, error){Get, GetNew} {
		s, err := get(t.Context(), Source{Kind: Keyring, Vault: "photos"}, Options{})
		if err != nil || string(s.Reveal()) != "from the ring" {
			t.Errorf("got %q, %v", s.Reveal(), err)
		}
	}
	_, err := Get(t.Context(), Source{Kind: Keyring, Vault: "music"}, Options{})
	if proto.CodeOf(err) != proto.Passphrase || !strings.Contains(err.Error(), "hint: store it: ") {
		t.Errorf("a missing entry gives %v", err)
	}
	if err := Store("music", NewSecret([]byte("two\nlines"))); proto.CodeOf(err) != proto.Passphrase {
		t.Errorf("two lines are stored: %v", err)
	}
}

func TestKeyringLocked(t *testing.T) {
	keyring.MockInitWithError(errors.New("the collection is locked"))
	_, err := Get(t.Context(), Source{Kind: Keyring, Vault: "photos"}, Options{})
	if proto.CodeOf(err) != proto.Passphrase || !strings.Contains(err.Error(), "the collection is locked") {
		t.Errorf("got %v", err)
	}
	if err := Store("photos", NewSecret([]byte("x"))); proto.CodeOf(err) != proto.Passphrase {
		t.Errorf("store gives %v", err)
	}
}

func TestKeyringThatHangs(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	f := func() (string, error) { <-hang; return "", nil }
	if _, err := bounded(t.Context(), time.Millisecond, f); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bounded(ctx, time.Hour, f); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestStoreCommand(t *testing.T) {
	for goos, want := range map[string]string{
		"linux":  "secret-tool store --label='fuseless photos' service fuseless username photos",
		"darwin": "security add-generic-password -U -s fuseless -a photos -w",
	} {
		if got := storeCommand(goos, "photos"); got != want {
			t.Errorf("%s: %s", goos, got)
		}
	}
}

func TestSecretIsRedacted(t *testing.T) {
	s := NewSecret([]byte("planted"))
	type request struct {
		Passphrase Secret
		hidden     Secret
		p          *Secret
	}
	r := request{s, s, &s}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b"} {
		for _, v := range []any{s, &s, r, &r, []Secret{s}, map[string]Secret{"k": s}} {
			leaks(t, verb, fmt.Sprintf(verb, v))
		}
	}
	if got := fmt.Sprintf("%v %x", s, s); got != "[secret] [secret]" {
		t.Errorf("got %s", got)
	}
	j, err := json.Marshal(map[string]any{"a": s, "b": r})
	if err != nil || !strings.Contains(string(j), `"[secret]"`) {
		t.Errorf("json: %s, %v", j, err)
	}
	leaks(t, "json", string(j))
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "r", r)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "s", s, "r", r)
	leaks(t, "slog", log.String())
}

func leaks(t *testing.T, where, text string) {
	t.Helper()
	for _, form := range []string{"planted", "706c616e746564", "706C616E746564", "112 108 97", "0x70, 0x6c", "160 154", "1110000 1101100"} {
		if strings.Contains(text, form) {
			t.Errorf("%s prints the secret: %s", where, text)
		}
	}
}

func TestWipe(t *testing.T) {
	b := []byte("planted")
	s := NewSecret(b)
	other := s
	other.Wipe()
	if !bytes.Equal(b, make([]byte, 7)) {
		t.Errorf("after Wipe: %q", b)
	}
	Secret{}.Wipe()
}
