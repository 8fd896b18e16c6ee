// Package challenge lets a client check that the server on a loopback port is
// ours before it sends the password: every local user can bind a port first
// and collect passwords.
//
// The client asks GET /.fuseless/challenge?nonce=<64 hex digits>, without
// credentials. The server answers with 64 hex digits of
//
//	HMAC-SHA256(key = SHA-256("fuseless challenge" user ":" password), nonce)
//
// Anyone may ask, and try passwords against the answer at leisure, so the
// password must be a random secret of at least 128 bits, made for one server.
// A relay would prove itself with another server's answer: that there
// is one secret per server, and that Verify takes no host names, leaves it nothing to relay to.
package challenge

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fuseless/guest/proto"
)

const (
	// Path is the one path that is answered without credentials, and only
	// with a nonce.
	Path = "/.fuseless/challenge"
	// NonceSize is the length of the nonce in bytes.
	NonceSize = 32

	timeout = 10 * time.Second
)

// Challenge is the answer that proves knowledge of user and password.
func Challenge(user, password string, nonce []byte) []byte {
	key := sha256.Sum256([]byte("fuseless challenge" + user + ":" + password))
	mac := hmac.New(sha256.New, key[:])
	mac.Write(nonce)
	return mac.Sum(nil)
}

// Handler answers challenges: 400 for a nonce that is not 64 hex digits.
func Handler(user, password string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nonce, err := hex.DecodeString(r.URL.Query().Get("nonce"))
		if err != nil || len(nonce) != NonceSize {
			http.Error(w, "nonce must be 64 hex digits", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		io.WriteString(w, hex.EncodeToString(Challenge(user, password, nonce))+"\n")
	})
}

// Verify returns nil if, and only if, the server at baseURL proves that it
// knows user and password. It sends neither. baseURL is http with a loopback
// address: "localhost" may mean two servers, one for IPv4 and one for IPv6.
//
// The error is a *proto.Error: proto.Config for a bad baseURL, proto.Serve
// for a server that is not there within ten seconds, or not ours.
func Verify(ctx context.Context, baseURL, user, password string) error {
	u, err := url.Parse(baseURL)
	if err != nil || u.Scheme != "http" || u.User != nil {
		return proto.Errorf(proto.Config, "%q is not an http address", baseURL)
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		return proto.Errorf(proto.Config, "%s is not a loopback address", u.Host).
			WithHint("use 127.0.0.1 or [::1]")
	}
	nonce := make([]byte, NonceSize)
	rand.Read(nonce) // never fails, since Go 1.24
	ask := url.URL{Scheme: "http", Host: u.Host, Path: Path, RawQuery: "nonce=" + hex.EncodeToString(nonce)}
	answer, err := get(ctx, ask.String())
	if err != nil {
		return proto.Errorf(proto.Serve, "no WebDAV server on %s: %w", u.Host, err)
	}
	if !hmac.Equal(answer, Challenge(user, password, nonce)) {
		return proto.Errorf(proto.Serve, "the server on %s is not ours", u.Host).
			WithHint("another program, or another user's, holds the port; choose another one")
	}
	return nil
}

// get returns the answer, nil for one that cannot be right.
func get(ctx context.Context, addr string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, addr, nil)
	if err != nil {
		return nil, err
	}
	// No proxy from the environment, no redirect, no connection left behind.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the nonce's address
		}
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 256))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, nil
	}
	answer, err := hex.DecodeString(strings.TrimSpace(string(body)))
	if err != nil {
		return nil, nil
	}
	return answer, nil
}
