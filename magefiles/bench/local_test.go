package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

// A server that gives something else than the file is not measured.
func TestReadManyChecks(t *testing.T) {
	names, contents := []string{"a", "b"}, [][]byte{[]byte("first"), []byte("other")}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		code  proto.Code
	}{
		"right": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, string(contents[slices.Index(names, r.URL.Path[1:])]))
		}, 0},
		"always the same": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "first") }, proto.Different},
		"short":           {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "firs") }, proto.Different},
		"without length": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "fi")
			http.NewResponseController(w).Flush()
		}, proto.Different},
		"missing": {http.NotFound, proto.Different},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.serve)
			defer s.Close()
			client := newDavClient(func(ctx context.Context, addr string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			}, s.Listener.Addr().String(), "", "")
			err := client.readMany(t.Context(), 3, 20, names, contents)
			if (err == nil) != (c.code == 0) || err != nil && proto.CodeOf(err) != c.code {
				t.Error(err)
			}
		})
	}
}

// What a server gets is the pattern over and over, and one that has not taken it is not measured.
func TestPut(t *testing.T) {
	pattern := noise(0, 1001)
	for _, c := range []struct {
		size   int64
		status int
		ok     bool
	}{
		{0, 201, true}, {1, 204, true}, {1001, 201, true}, {300_000, 204, true}, {300_000, 507, false}, {1, 200, false},
	} {
		var got []byte
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got, _ = io.ReadAll(r.Body)
			w.WriteHeader(c.status)
			if c.status != http.StatusNoContent {
				fmt.Fprint(w, "said")
			}
		}))
		client := newDavClient(func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}, s.Listener.Addr().String(), "", "")
		// Twice over one connection: nothing of the first answer is taken for the second.
		err := client.many(t.Context(), 1, 2, func(k *keepAlive, _ int) error { return k.put("a", pattern, c.size) })
		s.Close()
		if (err == nil) != c.ok || err != nil && proto.CodeOf(err) != proto.Different {
			t.Errorf("%d bytes, %d: %v", c.size, c.status, err)
		}
		if want := bytes.Repeat(pattern, 300)[:c.size]; !bytes.Equal(got, want) {
			t.Errorf("%d bytes came of %d", len(got), c.size)
		}
	}
}

// The large file is compared to its end, wherever the parts begin that come.
func TestRepeats(t *testing.T) {
	pattern := noise(0, 1001)
	whole := bytes.Repeat(pattern, 300)[:262_144+5]
	changed := slices.Clone(whole)
	changed[len(changed)-1]++
	for name, c := range map[string]struct {
		data []byte
		ok   bool
	}{
		"right":   {whole, true},
		"short":   {whole[:len(whole)-1], false},
		"long":    {append(slices.Clone(whole), bytes.Repeat(pattern, 300)[len(whole)]), false},
		"changed": {changed, false},
		"shifted": {whole[1:], false},
		"nothing": {nil, false},
	} {
		if err := repeats(bytes.NewReader(c.data), pattern, int64(len(whole))); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An epoch is a part of the version, and not of the name of the file.
func TestParseDebs(t *testing.T) {
	const said = `'http://deb.debian.org/debian/pool/main/libn/x/libnginx-mod_1%3a3.0.0-3_amd64.deb' libnginx-mod_1%3a3.0.0-3_amd64.deb 14400 MD5Sum:22
'http://deb.debian.org/debian-security/pool/n/nginx-common_1.22.1-9%2bdeb12u11_all.deb' nginx-common_1.22.1-9+deb12u11_all.deb 115544 
`
	debs, err := parseDebs(said)
	want := []deb{{"libnginx-mod", "1:3.0.0-3", "amd64", 14400}, {"nginx-common", "1.22.1-9+deb12u11", "all", 115544}}
	if err != nil || !slices.Equal(debs, want) {
		t.Error(debs, err)
	}
	for i, d := range debs {
		if line := strings.Split(said, "\n")[i]; !strings.Contains(line, " "+d.file()+" ") {
			t.Errorf("%s is not in %s", d.file(), line)
		}
	}
	if _, err := parseDebs("'http://x' x.deb 12\n"); err == nil {
		t.Error("what is no package was taken for one")
	}
}
