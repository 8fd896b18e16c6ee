//go:build linux

package e2e

import (
	"os"
	"strings"
	"testing"
	"time"
)

// What a call says is noticed when it says it, also in two pieces, and also if it
// was said before.
func TestSays(t *testing.T) {
	var said text
	there := said.has("trying again")
	_, _ = said.Write([]byte("the link broke; trying "))
	select {
	case <-there:
		t.Error("half of it is taken for the whole")
	default:
	}
	_, _ = said.Write([]byte("again in 1 s\n"))
	<-there
	<-said.has("the link broke")
}

// What a call says last, without the hint, is what the list has of it.
func TestLastLine(t *testing.T) {
	for said, want := range map[string]string{
		"photos: sending\nError: the VM is gone\nhint: try again\n": "the VM is gone",
		"Error: interrupted\n\n":                                    "interrupted",
		"":                                                          "",
	} {
		if got := (result{stderr: said}).lastLine(); got != want {
			t.Errorf("%q: %q", said, got)
		}
	}
}

// A call that goes on is the process that is signalled, and its end is seen.
func TestUnderWay(t *testing.T) {
	dir := t.TempDir()
	r := &run{bin: dir + "/fuseless", user: &account{name: "x", home: dir}}
	script := "#!/bin/sh\necho ready >&2\nread x\n"
	if err := os.WriteFile(r.bin, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	u, err := r.begin(t.Context(), nil, "backup")
	if err != nil {
		t.Fatal(err)
	}
	never := make(chan struct{})
	if err := u.until("it waits", never); err == nil || !strings.Contains(err.Error(), "ended with 1 before it waits: ready") {
		t.Errorf("%v", err) // it reads nothing, and ends
	}
	if res, err := u.wait(); err != nil || res.code != 1 || res.stderr != "ready\n" || res.took > time.Minute {
		t.Errorf("%+v, %v", res, err)
	}
	if err := u.signal(9); err == nil {
		t.Error("a process that has ended is signalled")
	}
}
