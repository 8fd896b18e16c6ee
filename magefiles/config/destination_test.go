package config

import (
	"strings"
	"testing"
)

func TestParseDestination(t *testing.T) {
	for _, c := range []struct {
		raw    string
		want   Destination
		target string
		text   string // String(); empty: raw
	}{
		{"me@nas:backup/photos", Destination{User: "me", Host: "nas", Path: "backup/photos"}, "me@nas", ""},
		{"nas:/srv/photos/", Destination{Host: "nas", Path: "/srv/photos"}, "nas", "nas:/srv/photos"},
		{"nas:a b/c'd$e", Destination{Host: "nas", Path: "a b/c'd$e"}, "nas", ""},
		{"nas:./x//y/.", Destination{Host: "nas", Path: "x/y"}, "nas", "nas:x/y"},
		{"nas:~/x", Destination{Host: "nas", Path: "x"}, "nas", "nas:x"},
		{"nas:-rf", Destination{Host: "nas", Path: "./-rf"}, "nas", "nas:./-rf"},
		{"nas:./a@b:c", Destination{Host: "nas", Path: "./a@b:c"}, "nas", "nas:./a@b:c"},
		{"nas:./a@b", Destination{Host: "nas", Path: "a@b"}, "nas", "ssh://nas/./a@b"},
		{"nas:/srv/a@b:c", Destination{Host: "nas", Path: "/srv/a@b:c"}, "nas", ""},
		{"me@nas:a@b/c", Destination{User: "me", Host: "nas", Path: "a@b/c"}, "me@nas", ""},
		{"me@example.com@box:x", Destination{User: "me@example.com", Host: "box", Path: "x"}, "me@example.com@box", ""},
		{"me@[fe80::1%eth0]:x", Destination{User: "me", Host: "fe80::1%eth0", Path: "x"}, "me@fe80::1%eth0", ""},
		{"[::1]:/x", Destination{Host: "::1", Path: "/x"}, "::1", ""},
		{"ssh://me@nas:2222/srv/a%20b", Destination{User: "me", Host: "nas", Port: "2222", Path: "/srv/a b"}, "me@nas", ""},
		{"ssh://nas/./x/y", Destination{Host: "nas", Path: "x/y"}, "nas", "nas:x/y"},
		{"SSH://nas:022//x", Destination{Host: "nas", Port: "22", Path: "/x"}, "nas", "ssh://nas:22/x"},
		{"ssh://nas:1/./~x", Destination{Host: "nas", Port: "1", Path: "./~x"}, "nas", "ssh://nas:1/./~x"},
		{"ssh://nas:1/%3F%23%25", Destination{Host: "nas", Port: "1", Path: "/?#%"}, "nas", "ssh://nas:1/%3F%23%25"},
		{"ssh://u%40dom@[::1]:7/x", Destination{User: "u@dom", Host: "::1", Port: "7", Path: "/x"}, "u@dom@::1", ""},
		{"ssh://[fe80::1%25eth0]:7/x", Destination{Host: "fe80::1%eth0", Port: "7", Path: "/x"}, "fe80::1%eth0", ""},
		{"/mnt/disk/vault/", Destination{Path: "/mnt/disk/vault", Local: true}, "", "/mnt/disk/vault"},
		{"/a:b@c", Destination{Path: "/a:b@c", Local: true}, "", ""},
	} {
		got, err := ParseDestination(c.raw)
		c.want.Raw = c.raw
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v", c.raw, got, err)
			continue
		}
		if c.text == "" {
			c.text = c.raw
		}
		if got.Target() != c.target || got.String() != c.text {
			t.Errorf("%s: target %s, text %s", c.raw, got.Target(), got)
		}
	}
}

func TestParseDestinationRefuses(t *testing.T) {
	for raw, says := range map[string]string{
		"":                                 "is empty",
		"photos":                           "must be user@host:path",
		"backup/a:b":                       "must be user@host:path",
		"./a:b":                            "must be user@host:path",
		"user@nas":                         "must be user@host:path",
		"user@nas/x:y":                     "must be user@host:path",
		"sftp://nas/x":                     "must be user@host:path",
		"rsync://nas/x":                    "must be user@host:path",
		"nas::module":                      "rsync daemon",
		"nas:":                             "folder of its own",
		"nas:.":                            "folder of its own",
		"nas:././":                         "folder of its own",
		"nas:/":                            "folder of its own",
		"nas:/././":                        "folder of its own",
		"nas:~":                            "folder of its own",
		"nas:~/":                           "folder of its own",
		"ssh://nas":                        "folder of its own",
		"ssh://nas/":                       "folder of its own",
		"ssh://nas/./":                     "folder of its own",
		"ssh://nas/%2e":                    "folder of its own",
		"/":                                "folder of its own",
		"//":                               "folder of its own",
		"nas:~bob/x":                       "does not expand",
		"ssh://nas/~/x":                    "does not expand",
		"ssh://nas//~x":                    "does not expand",
		"nas:../x":                         "holds ..",
		"nas:a/../b":                       "holds ..",
		"/a/..":                            "holds ..",
		"ssh://nas/a/%2e%2e/b":             "holds ..",
		"ssh://nas/a%2F..%2Fb":             "holds ..",
		"-oProxyCommand=x:y":               "host begins with -",
		"me@-oProxyCommand=x:y":            "host begins with -",
		"ssh://-oProxyCommand=x/y":         "host begins with -",
		"-lroot@nas:y":                     "user begins with -",
		"ssh://-lroot@nas/y":               "user begins with -",
		"ssh://%2Dlroot@nas/y":             "user begins with -",
		"na s:x":                           "host holds a character",
		"$(id):x":                          "host holds a character",
		"`id`@nas:x":                       "user holds a character",
		"a b@nas:x":                        "user holds a character",
		"@nas:x":                           "no user before @",
		"ssh://@nas/x":                     "no user before @",
		":x":                               "has no host",
		"ssh:///x":                         "has no host",
		"me@:x":                            "has no host",
		"nas:a\nb":                         "control character",
		"nas:a\x00b":                       "control character",
		"nas:a\x7fb":                       "control character",
		"nas:\xff":                         "control character",
		"/a\nb":                            "control character",
		"ssh://nas/a%0Ab":                  "control character",
		"ssh://nas/a%00b":                  "control character",
		"ssh://nas/%ff":                    "control character",
		"ssh://nas:0/x":                    "from 1 to 65535",
		"ssh://nas:65536/x":                "from 1 to 65535",
		"ssh://nas:x/x":                    "is not a URL",
		"ssh://nas/%zz":                    "is not a URL",
		"ssh://nas/a?b":                    "no ? or #",
		"ssh://nas/a?":                     "no ? or #",
		"ssh://nas/a#b":                    "no ? or #",
		"ssh://nas/a#":                     "no ? or #",
		"[::1]/x":                          "IPv6 address",
		"[nas]:x":                          "IPv6 address",
		"[fe80::1%a$b]:x":                  "host holds a character",
		"ssh://[::g]/x":                    "is not a URL",
		strings.Repeat("x", 256) + ":/x":   "longer than",
		"nas:" + strings.Repeat("x", 4097): "longer than",

		"me:hunter2@nas:x":          "never put a password here",
		"me:hunter2@nas":            "never put a password here",
		"me:hunt/er2@nas:x":         "never put a password here",
		"ssh://me:hunter2@nas/x":    "never put a password here",
		"ssh://me:@nas/x":           "never put a password here",
		"ssh://me%3Ahunter2@nas/x":  "never put a password here",
		"ssh://me:hunter2@nas:x/y":  "is not a URL",
		"ssh://me:hunter2@n as/%zz": "is not a URL",
	} {
		d, err := ParseDestination(raw)
		if err == nil {
			t.Errorf("%q is taken: %+v", raw, d)
			continue
		}
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, not %q", raw, err, says)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error tells the password", raw)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"nas:x", "nas:x", true},
		{"nas:x", "NAS:x/", true},
		{"nas:x", "nas:x/y", true},
		{"nas:x", "nas:x.trash", true},
		{"nas:x", "nas:x.trash/y", true},
		{"nas:x", "nas:xy", false},
		{"nas:x", "box:x", false},
		{"nas:x", "nas:/x", false},
		{"nas:/x", "me@nas:/x", true},
		{"nas:x", "me@nas:x", true},
		{"you@nas:x", "me@nas:x", false},
		{"nas:-x", "nas:./-x.trash", true},
		{"ssh://nas:22/x", "nas:/x", true},
		{"ssh://nas:22/x", "ssh://nas:23/x", false},
		{"/x", "nas:/x", false},
		{"/x", "/x/y", true},
	} {
		a, aerr := ParseDestination(c.a)
		b, berr := ParseDestination(c.b)
		if aerr != nil || berr != nil {
			t.Fatal(aerr, berr)
		}
		if a.overlaps(b) != c.want || b.overlaps(a) != c.want {
			t.Errorf("%s and %s: not %v", c.a, c.b, c.want)
		}
	}
}

// FuzzParseDestination: what is taken is safe in the argv of ssh, and String
// says the same again.
func FuzzParseDestination(f *testing.F) {
	for _, s := range []string{"me@nas:a/b", "nas:/x", "ssh://me@nas:2222/./a%20b", "ssh://[fe80::1%25e]:1/x", "me@[::1]:x", "/a/b",
		"nas:~/x", "nas:-x", "a@b@c:d@e:f", "nas:./~", "ssh://h/%2e%2e", "ssh://h/.//x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDestination(s)
		if err != nil {
			return
		}
		if !d.Local && d.Host == "" || d.Local && (d.Host != "" || !strings.HasPrefix(d.Path, "/")) {
			t.Errorf("%q: host and Local contradict: %+v", s, d)
		}
		for _, part := range []string{d.Target(), d.Host, d.User, d.Path} {
			if strings.HasPrefix(part, "-") || strings.ContainsAny(part, "\n\r\x00\x1b") {
				t.Errorf("%q: %q is not safe in argv", s, part)
			}
		}
		if strings.ContainsAny(d.Target(), " \t'\"`$\\;&|<>()") {
			t.Errorf("%q: target %q is not safe in a shell", s, d.Target())
		}
		for _, e := range strings.Split(d.Path, "/") {
			if e == ".." {
				t.Errorf("%q: path %q", s, d.Path)
			}
		}
		switch d.Path {
		case "", ".", "./", "/", "~":
			t.Errorf("%q: path %q is no folder of its own", s, d.Path)
		}
		again, err := ParseDestination(d.String())
		again.Raw = d.Raw
		if err != nil || again != d {
			t.Errorf("%q: %q is read as %+v, %v, not %+v", s, d, again, err, d)
		}
	})
}
