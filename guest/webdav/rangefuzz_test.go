package webdav

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzRange: whatever parts of a file are asked for, no byte is given for another one, and no
// part for the whole.
func FuzzRange(f *testing.F) {
	for _, s := range []string{"", "bytes=0-9", "bytes=-5", "bytes=90-", "bytes=0-0,5-7", "bytes=200-", "bytes=9-1", "bytes=0-9,5-100,-1", "bytes=-0", "bytes=18446744073709551615-", "x=0-1", "bytes=0-9;q"} {
		for _, cond := range []string{"", `"x"`, "W/", "Mon, 12 Jan 1998 09:25:56 GMT"} {
			f.Add(s, cond)
		}
	}
	root := f.TempDir()
	var data strings.Builder
	for i := range 25 {
		fmt.Fprintf(&data, "%04d", i)
	}
	whole := data.String()
	if err := os.WriteFile(filepath.Join(root, "f"), []byte(whole), 0o600); err != nil {
		f.Fatal(err)
	}
	d, err := NewDir(root)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { d.Close() })
	s, err := New(d, Options{User: testUser, Password: testPassword, ReadOnly: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, ranges, ifRange string) {
		r := httptest.NewRequest("GET", "/f", nil)
		r.Host = "localhost"
		r.SetBasicAuth(testUser, testPassword)
		r.Header.Set("Range", ranges)
		if ifRange != "" {
			r.Header.Set("If-Range", ifRange)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		part := func(contentRange string, body string) {
			var from, to, size int
			if body == "" && contentRange == fmt.Sprintf("bytes %d-%d/%[1]d", len(whole), len(whole)-1) {
				return // net/http's answer to the last 0 bytes, for which 416 would be right
			}
			if n, err := fmt.Sscanf(contentRange, "bytes %d-%d/%d", &from, &to, &size); n != 3 || size != len(whole) || from < 0 || from > to || to >= size || whole[from:to+1] != body {
				t.Errorf("%q: %q is %q (%v)", ranges, contentRange, body, err)
			}
		}
		switch body := w.Body.String(); w.Code {
		case 200:
			if body != whole {
				t.Errorf("%q: the whole is %q", ranges, body)
			}
		case 206:
			kind, params, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
			if kind != "multipart/byteranges" {
				part(w.Header().Get("Content-Range"), body)
				return
			}
			m := multipart.NewReader(w.Body, params["boundary"])
			for n := 0; ; n++ {
				p, err := m.NextPart()
				if err == io.EOF && n > 1 {
					return
				}
				if err != nil {
					t.Fatalf("%q: part %d: %v", ranges, n, err)
				}
				b, err := io.ReadAll(p)
				if err != nil {
					t.Errorf("%q: %v", ranges, err)
				}
				part(p.Header.Get("Content-Range"), string(b))
			}
		case 416:
			if got := w.Header().Get("Content-Range"); got != "" && got != fmt.Sprintf("bytes */%d", len(whole)) {
				t.Errorf("%q: Content-Range: %s", ranges, got)
			}
		default:
			t.Errorf("%q, %q: %d: %s", ranges, ifRange, w.Code, body)
		}
	})
}
