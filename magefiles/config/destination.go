package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode"
)

// Destination is where a vault lies.
type Destination struct {
	Raw  string // as it was written
	User string // empty: ssh decides
	Host string // name, address (IPv6 without brackets), or alias of ssh_config; empty if Local
	Port string // decimal; empty: ssh decides

	// Path is clean, and absolute or relative to the login folder. It names a
	// folder of its own, because the trash lies beside it.
	Path string

	Local bool // an absolute path of this machine
}

// The longest path on Linux, and the longest host name (RFC 1035), in bytes.
const (
	pathMax = 4096
	nameMax = 255
)

var (
	errForm     = errors.New("must be user@host:path, ssh://user@host:port/path, or an absolute path")
	errOwn      = errors.New("must name a folder of its own, because the trash is put beside it")
	errLong     = errors.New("is longer than any path, host or user")
	errPassword = errors.New("never put a password here; let ssh use a key or an agent")
)

// ParseDestination reads the forms
//
//	user@host:path  host:path  user@[::1]:path
//	ssh://user@host:port/path   (absolute; /./path is relative to the login folder)
//	/path                       (on this machine)
//
// The errors never repeat what was written: it may hold a password.
func ParseDestination(s string) (Destination, error) {
	d, err := parseForm(s)
	if err != nil {
		return Destination{}, err
	}
	d.Raw = s
	if err := d.checkHost(); err != nil {
		return Destination{}, err
	}
	if err := d.cleanPath(); err != nil {
		return Destination{}, err
	}
	return d, nil
}

func parseForm(s string) (Destination, error) {
	scheme, _, isURL := strings.Cut(s, "://")
	switch {
	case s == "":
		return Destination{}, errors.New("is empty")
	case len(s) > 4*pathMax: // a URL is three times as long as what it says, at most
		return Destination{}, errLong
	case !printable(s):
		return Destination{}, errors.New("holds a control character")
	case strings.HasPrefix(s, "/"):
		return Destination{Path: s, Local: true}, nil
	case isURL && strings.EqualFold(scheme, "ssh"):
		return parseURL(s)
	case isURL && !strings.ContainsAny(scheme, "/@:"):
		return Destination{}, errForm
	}
	return parseSCP(s)
}

// parseSCP reads the form of scp and rsync: the first colon outside brackets
// ends the host, and a slash before it makes it a local path.
func parseSCP(s string) (Destination, error) {
	var d Destination
	rest := s
	if at := strings.LastIndexByte(hostPart(s), '@'); at >= 0 {
		d.User, rest = s[:at], s[at+1:]
		if d.User == "" {
			return d, errors.New("has no user before @")
		}
	}
	if inner, ok := strings.CutPrefix(rest, "["); ok {
		addr, after, closed := strings.Cut(inner, "]:")
		if !closed || !isIPv6(addr) {
			return d, errors.New("in brackets there must be an IPv6 address, then a colon and the path")
		}
		d.Host, d.Path = addr, after
	} else {
		host, after, ok := strings.Cut(rest, ":")
		if !ok || strings.ContainsRune(host, '/') {
			return d, errForm
		}
		d.Host, d.Path = host, after
	}
	switch {
	case strings.HasPrefix(d.Path, ":"):
		return d, errors.New("host::module is an rsync daemon; only ssh is supported")
	case d.User == "" && strings.ContainsRune(d.Path, '@') && !strings.HasPrefix(d.Path, "/") && !strings.HasPrefix(d.Path, "./"):
		return d, fmt.Errorf("looks like user:password@host: %w; if it is a path with an @, begin it with ./", errPassword)
	}
	if d.Path == "~" || strings.HasPrefix(d.Path, "~/") {
		d.Path = "." + d.Path[1:] // sftp does not expand it, and a relative path means the same
	}
	if strings.HasPrefix(d.Path, "~") {
		return d, errors.New("~name does not expand over sftp; write the path out")
	}
	return d, nil
}

// hostPart is what is before the path in the form of scp: a user may hold an @,
// and so may a path.
func hostPart(s string) string {
	if i := strings.Index(s, "@["); i >= 0 && !strings.ContainsAny(s[:i], ":/") {
		return s[:i+1]
	}
	host, _, _ := strings.Cut(s, ":")
	host, _, _ = strings.Cut(host, "/")
	return host
}

func parseURL(s string) (Destination, error) {
	u, err := url.Parse(s)
	if err != nil {
		return Destination{}, errors.New("is not a URL") // err repeats it
	}
	if _, has := u.User.Password(); has {
		return Destination{}, errPassword
	}
	if u.RawQuery != "" || u.ForceQuery || strings.ContainsRune(s, '#') {
		return Destination{}, errors.New("a URL's path holds no ? or #; write %3F or %23")
	}
	d := Destination{Host: u.Hostname(), Port: u.Port(), Path: u.Path}
	if u.User != nil {
		if d.User = u.User.Username(); d.User == "" {
			return d, errors.New("has no user before @")
		}
	}
	if strings.HasPrefix(u.Host, "[") && !isIPv6(d.Host) {
		return d, errors.New("in brackets there must be an IPv6 address")
	}
	if d.Port != "" {
		n, err := strconv.ParseUint(d.Port, 10, 16)
		if err != nil || n == 0 {
			return d, errors.New("the port must be from 1 to 65535")
		}
		d.Port = strconv.FormatUint(n, 10)
	}
	if relative, ok := strings.CutPrefix(d.Path, "/./"); ok {
		if strings.HasPrefix(relative, "/") || strings.HasPrefix(relative, "~") {
			relative = "./" + strings.TrimLeft(relative, "/")
		}
		d.Path = relative
	} else if strings.HasPrefix(path.Clean(d.Path), "/~") {
		return d, errors.New("~ does not expand; /./path is relative to the login folder")
	}
	return d, nil
}

// checkHost refuses what ssh would take for an option, and what a shell in
// ssh_config (ProxyCommand with %h and %r) would take for more than a name; ssh
// itself does so since 9.6 (valid_hostname and valid_ruser in ssh.c).
func (d *Destination) checkHost() error {
	if d.Local {
		return nil
	}
	_, zone, _ := strings.Cut(d.Host, "%")
	switch {
	case d.Host == "":
		return errors.New("has no host")
	case strings.HasPrefix(d.Host, "-"):
		return errors.New("the host begins with -")
	case isIPv6(d.Host) && strings.ContainsFunc(zone, notInHost), !isIPv6(d.Host) && strings.ContainsFunc(d.Host, notInHost):
		return errors.New("the host holds a character that a name cannot have")
	case strings.HasPrefix(d.User, "-"):
		return errors.New("the user begins with -")
	case strings.ContainsRune(d.User, ':'):
		return errPassword
	case !printable(d.User), strings.ContainsFunc(d.User, unicode.IsSpace), strings.ContainsAny(d.User, "'`\"$\\;&<>|(){}/[]"):
		return errors.New("the user holds a character that a name cannot have")
	}
	return nil
}

func notInHost(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-+", r)
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6()
}

// cleanPath checks and cleans Path. A relative path that programs could take
// for something else (an option, a home folder, a host) gets a leading ./
func (d *Destination) cleanPath() error {
	if !printable(d.Path) {
		return errors.New("the path holds a control character")
	}
	for e := range strings.SplitSeq(d.Path, "/") {
		if e == ".." {
			return errors.New("the path holds ..")
		}
	}
	d.Path = path.Clean(d.Path)
	if d.Path == "." || d.Path == "/" {
		return errOwn
	}
	if len(d.Path) > pathMax || len(d.Host) > nameMax || len(d.User) > nameMax {
		return errLong
	}
	first, _, _ := strings.Cut(d.Path, "/")
	if strings.HasPrefix(first, "-") || strings.HasPrefix(first, "~") || strings.ContainsRune(first, ':') {
		d.Path = "./" + d.Path
	}
	return nil
}

// String is the destination in a form that ParseDestination reads: that of scp
// where it can say all, else a URL.
func (d Destination) String() string {
	if d.Local {
		return d.Path
	}
	if d.Host == "" {
		return ""
	}
	s := d.Host + ":" + d.Path
	if strings.ContainsRune(d.Host, ':') {
		s = "[" + d.Host + "]:" + d.Path
	}
	if d.User != "" {
		s = d.User + "@" + s
	}
	e, err := ParseDestination(s)
	if e.Raw = d.Raw; err == nil && e == d {
		return s
	}
	return d.url()
}

func (d Destination) url() string {
	p := d.Path
	if !strings.HasPrefix(p, "/") {
		p = "/./" + strings.TrimPrefix(p, "./")
	}
	s := "ssh://"
	if d.User != "" {
		s += url.User(d.User).String() + "@"
	}
	host := strings.ReplaceAll(d.Host, "%", "%25")
	if strings.ContainsRune(host, ':') {
		host = "[" + host + "]"
	}
	s += host
	if d.Port != "" {
		s += ":" + d.Port
	}
	return s + (&url.URL{Path: p}).EscapedPath()
}

// Target is user@host, or host, as ssh takes it in argv. It is empty if Local.
func (d Destination) Target() string {
	if d.User == "" {
		return d.Host
	}
	return d.User + "@" + d.Host
}

// Trash is the folder beside the vault that takes what a backup deletes or
// replaces.
func (d Destination) Trash() string { return d.Path + ".trash" }

// overlaps says whether one vault, or its trash, is or holds the other. An
// alias in ssh_config can hide that two hosts are one.
func (d Destination) overlaps(e Destination) bool {
	if d.Path == "" || e.Path == "" || d.Local != e.Local || !strings.EqualFold(d.Host, e.Host) {
		return false
	}
	if d.Port != "" && e.Port != "" && d.Port != e.Port {
		return false
	}
	if !strings.HasPrefix(d.Path, "/") && d.User != "" && e.User != "" && d.User != e.User {
		return false // other login folders
	}
	for _, a := range []string{d.Path, d.Trash()} {
		for _, b := range []string{e.Path, e.Trash()} {
			a, b := path.Clean(a), path.Clean(b)
			if a == b || within(a, b) || within(b, a) {
				return true
			}
		}
	}
	return false
}
