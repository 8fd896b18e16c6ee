package webdav

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
)

// filePolicy keeps a file of the tree from acting in a browser with the rights of the
// server's origin, or at all: no script, no form, no request. The styles are for what
// browsers put around a picture. (Chromium also shows it without img-src, which
// would only let it ask for /favicon.ico.)
const filePolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// secure sets what holds for every answer.
func secure(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", filePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// fromBrowser reports whether a browser asks. Old ones do not send
// Sec-Fetch-Mode, but all want HTML best when a person opens an address.
func fromBrowser(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") != "" || strings.Contains(r.Header.Get("Accept"), "text/html")
}

// checkHost refuses what web pages send. A name that a page's owner has
// rebound to 127.0.0.1 still arrives as Host; a request across origins carries its Origin.
func checkHost(r *http.Request) error {
	if !loopbackName(r.Host) {
		return refuse(http.StatusForbidden, "this server answers to localhost only")
	}
	for _, o := range r.Header["Origin"] {
		if !strings.EqualFold(o, "http://"+r.Host) {
			return refuse(http.StatusForbidden, "requests from another origin are refused")
		}
	}
	return nil
}

// loopbackName reports whether host, with any port or none, is one of the
// names of this machine itself.
func loopbackName(host string) bool {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return false
		}
		if name = h; strings.Contains(h, ":") {
			name = "[" + h + "]"
		}
	}
	return strings.EqualFold(name, "localhost") || name == "127.0.0.1" || name == "[::1]"
}

// credentials are hashes, since comparing these in constant time does not tell
// the length. A slow hash would only slow us: the secret is random, and is asked for by every request.
type credentials struct{ user, password [sha256.Size]byte }

func newCredentials(user, password string) credentials {
	return credentials{sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))}
}

func (c *credentials) match(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	got := newCredentials(user, password)
	same := subtle.ConstantTimeCompare(got.user[:], c.user[:]) & subtle.ConstantTimeCompare(got.password[:], c.password[:])
	return ok && same == 1
}
