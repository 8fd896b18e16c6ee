package challenge

import (
	"context"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

func TestChallengeIsPinned(t *testing.T) {
	// python3: hmac.new(hashlib.sha256(b"fuseless challengeuser:pass").digest(), bytes(32), "sha256")
	const want = "82e278fa1e03adfb4870137dc1b50b9371132e01d531cd2d244c1890ef4e55d1"
	if got := hex.EncodeToString(Challenge("user", "pass", make([]byte, 32))); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestVerify(t *testing.T) {
	ours := Handler("user", "pass")
	var asked []*http.Request
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		ok      bool
	}{
		"ours":   {ours.ServeHTTP, true},
		"silent": {func(http.ResponseWriter, *http.Request) {}, false},
		"echo": {func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(r.URL.Query().Get("nonce")))
		}, false},
		"unauthorized": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(401)
		}, false},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == Path {
				http.Redirect(w, r, "/elsewhere?"+r.URL.RawQuery, http.StatusFound)
				return
			}
			ours.ServeHTTP(w, r)
		}, false},
		"another secret": {Handler("user", "other").ServeHTTP, false},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte(strings.Repeat("0", 4096))); err != nil {
					return
				}
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r)
				c.handler(w, r)
			}))
			defer srv.Close()
			asked = nil
			err := Verify(context.Background(), srv.URL, "user", "pass")
			if (err == nil) != c.ok {
				t.Errorf("error %v", err)
			}
			if err != nil && proto.CodeOf(err) != proto.Serve {
				t.Errorf("code %v", proto.CodeOf(err))
			}
			for _, r := range asked {
				if r.Header.Get("Authorization") != "" || strings.Contains(r.URL.String(), "pass") {
					t.Error("the password was sent")
				}
			}
		})
	}
}

func TestVerifyTakesLoopbackAddressesOnly(t *testing.T) {
	for _, u := range []string{"http://localhost:1", "http://192.0.2.1:1", "https://127.0.0.1:1", "ftp://127.0.0.1", "http://u:p@127.0.0.1:1", ":", ""} {
		if err := Verify(context.Background(), u, "user", "pass"); proto.CodeOf(err) != proto.Config {
			t.Errorf("%s: %v", u, err)
		}
	}
	srv := httptest.NewServer(nil)
	srv.Close()
	err := Verify(context.Background(), srv.URL, "user", "pass")
	if proto.CodeOf(err) != proto.Serve || strings.Contains(err.Error(), "nonce") {
		t.Errorf("nobody listening: %v", err)
	}
}
