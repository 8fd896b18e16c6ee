package proto

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestReadRequestLeavesTheRest(t *testing.T) {
	line, err := json.Marshal(Request{Protocol: Version, Op: OpBackup, Passphrase: "geheim"})
	if err != nil {
		t.Fatal(err)
	}
	in := bytes.NewReader(append(line, "\nrest"...))
	req, err := ReadRequest(in)
	if err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(in)
	if req.Passphrase != "geheim" || string(rest) != "rest" {
		t.Errorf("got %v, rest %q", req, rest)
	}
}

// What is wrong with a request must not be explained with its contents.
func TestBadRequestsDoNotLeak(t *testing.T) {
	for _, in := range []string{
		`{"passphrase":"geheim"` + "\n", `{"protocol":1,"passphrase":["geheim"]}` + "\n", `{"protocol":99,"passphrase":"geheim"}` + "\n",
		"geheim", strings.Repeat("geheim", MaxRequest) + "\n",
	} {
		_, err := ReadRequest(strings.NewReader(in))
		if err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("got %v", err)
		}
	}
}

func TestSecretDoesNotPrint(t *testing.T) {
	s := fmt.Sprintf("%v %s %#v %q", Secret("geheim"), Secret("geheim"), Request{Passphrase: "geheim"}, Secret("geheim"))
	if strings.Contains(s, "geheim") {
		t.Error(s)
	}
}

func TestErrorsKeepTheirCode(t *testing.T) {
	err := fmt.Errorf("demo: %w", Errorf(Passphrase, "wrong: %w", io.ErrUnexpectedEOF).WithHint("try %d", 2))
	if CodeOf(err) != Passphrase || !errors.Is(err, io.ErrUnexpectedEOF) || CodeOf(io.EOF) != Internal || CodeOf(nil) != OK {
		t.Errorf("codes: %v", CodeOf(err))
	}
	if got, want := err.Error(), "demo: wrong: unexpected EOF\nhint: try 2"; got != want {
		t.Errorf("got %q", got)
	}
}

// Codes 1 and 2 are mage's.
func TestCodesAreUnique(t *testing.T) {
	seen := map[Code]bool{}
	for _, c := range Codes {
		if seen[c.Code] || c.Code != OK && c.Code < 10 {
			t.Errorf("code %d", c.Code)
		}
		seen[c.Code] = true
	}
}
