package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// A server that does not say what was asked for, or says something else, is not
// measured.
func TestHolds(t *testing.T) {
	answer := func(files int, props string) []byte {
		b := `<?xml version="1.0"?><multistatus xmlns="DAV:"><response><href>/f/</href></response>`
		for i := range files {
			b += fmt.Sprintf(`<response><href>/f/%d</href>%s</response>`, i, props)
		}
		return []byte(b + `</multistatus>`)
	}
	const right = `<propstat><prop><getcontentlength>64</getcontentlength></prop><status>HTTP/1.1 200 OK</status></propstat>`
	for name, c := range map[string]struct {
		answer []byte
		ok     bool
	}{
		"right":       {answer(3, right), true},
		"too few":     {answer(2, right), false},
		"wrong size":  {answer(3, strings.Replace(right, "64", "65", 1)), false},
		"no such":     {answer(3, strings.Replace(right, "200 OK", "404 Not Found", 1)), false},
		"nothing":     {answer(3, ""), false},
		"broken":      {answer(3, right)[:200], false},
		"other place": {[]byte(strings.ReplaceAll(string(answer(3, right)), "/f/1", "/g/1")), false},
	} {
		if err := holds(c.answer, "f", 3); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Requests are counted, what they write, and those for which somebody waited; the greeting is none.
func TestSFTPCounter(t *testing.T) {
	packet := func(kind byte, n int) string {
		b := binary.BigEndian.AppendUint32(nil, uint32(1+n))
		return string(append(b, kind)) + strings.Repeat("x", n)
	}
	const id, handle, offset = "\x00\x00\x00\x07", "\x00\x00\x00\x02ab", "\x00\x00\x00\x00\x00\x00\x10\x00"
	with := func(kind byte, b string) string { return packet(kind, len(b))[:5] + b }
	asked := packet(sftpInit, 4) + packet(3, 40_000) + packet(5, 0) + packet(5, 9) +
		with(sftpWrite, id+handle+offset+"\x00\x00\x00\x06abcdef") + with(sftpWrite, id+handle+offset+"\x00\x00\x00\x03abc") +
		with(sftpExtended, id+"\x00\x00\x00\x11"+sftpFsync+handle) + with(sftpExtended, id+"\x00\x00\x00\x13statvfs@openssh.com\x00\x00\x00\x01/") +
		packet(sftpWrite, 2) + packet(sftpExtended, 0)
	c := &sftpCounts{}
	var out bytes.Buffer
	// It answers only when all is asked.
	server := exec.Command("/bin/sh", "-c", "cat")
	if err := c.serve(server, strings.NewReader(asked), &out); err != nil {
		t.Fatal(err)
	}
	if out.String() != asked {
		t.Errorf("%d bytes came back of %d", out.Len(), len(asked))
	}
	if n := c.requests.Load(); n != 9 {
		t.Errorf("%d requests", n)
	}
	if w := (&far{counts: c}).wrote(); w != (written{2, 9, 1}) {
		t.Errorf("written: %+v", w)
	}
	if n := c.rounds.Load(); n < 1 || n > 9 {
		t.Errorf("%d round trips", n)
	}
}
