package guestimage

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMirrorsAreTheHosts(t *testing.T) {
	for what, c := range map[string]struct{ text, main, security string }{
		"deb822": {"Types: deb\n# http://snapshot.debian.org/archive/debian/2025\nURIs: http://mirror.example/debian/\nSuites: trixie\nComponents: main\n\n" +
			"Types: deb\nURIs: http://mirror.example/debian-security\nSuites: trixie-security\n",
			"http://mirror.example/debian", "http://mirror.example/debian-security"},
		"one line": {"# deb http://old.example/debian bookworm main\ndeb [arch=amd64] https://m.example/debian bookworm main\n" +
			"deb-src https://src.example/debian bookworm main\ndeb https://packages.example/apt stable main\n",
			"https://m.example/debian", "http://deb.debian.org/debian-security"},
		"another system": {"deb http://archive.example/ubuntu noble main\n", "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"},
	} {
		src := parseMirrors([]byte(c.text))
		if src.Main != c.main || src.Security != c.security {
			t.Errorf("%s: got %s and %s", what, src.Main, src.Security)
		}
	}
}

// A proxy on the host's loopback has another address in the guest; mmdebstrap
// runs on the host, and takes it as it is.
func TestProxy(t *testing.T) {
	src := sources{Main: "M", Security: "S", Options: parseOptions([]byte(`APT "";
Acquire "";
Acquire::Check-Date "false";
Acquire::Languages "none";
Acquire::http "";
Acquire::http::Proxy "http://127.0.0.1:3142/";
Acquire::https::Proxy "http://user@proxy.example:8080";
Acquire::http::Proxy::m.example "DIRECT";
`))}
	want := `Acquire::Check-Date "false";
Acquire::http::Proxy "http://192.168.5.2:3142/";
Acquire::https::Proxy "http://user@proxy.example:8080";
`
	if got := src.aptConf(); got != want {
		t.Errorf("in the guest:\n%swant\n%s", got, want)
	}
	argv := mmdebstrapArgv("/r", "/l", "/f", src)
	if !slices.Contains(argv, `--aptopt=Acquire::http::Proxy "http://127.0.0.1:3142/"`) {
		t.Errorf("on the host: %q", argv)
	}
}

func TestImageLacksWhatTheGuestInstalls(t *testing.T) {
	for _, p := range []string{"gocryptfs", "sshfs", "rsync", "fuse3"} {
		if slices.Contains(Packages(), p) {
			t.Errorf("%s is in the image", p)
		}
	}
}

func TestKey(t *testing.T) {
	src := sources{Main: "M", Security: "S"}
	day := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) // a Monday
	k := key(src, day)
	if k != key(src, day.AddDate(0, 0, 6)) {
		t.Error("it changes within a week")
	}
	if k == key(src, day.AddDate(0, 0, 7)) {
		t.Error("it outlives its week")
	}
	if k == key(sources{Main: "other", Security: "S"}, day) || k == key(sources{Main: "M", Security: "S", CAs: []ca{{"c", nil}}}, day) {
		t.Error("other sources have the same image")
	}
}

func TestOverlay(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a b.tar")
	src := sources{Main: "M", Security: "S", CAs: []ca{{"own.crt", []byte("pem")}}}
	if err := writeTar(name, overlay(src)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]string{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil || h.Uid != 0 || h.Mode != 0o644 {
			t.Errorf("%s: %v, owner %d, mode %o", h.Name, err, h.Uid, h.Mode)
		}
		got[h.Name] = string(b)
	}
	for file, want := range map[string]string{
		"etc/fstab": "LABEL=" + label + " / ext4 ", "etc/apt/sources.list": " M " + Suite + " main\n",
		"etc/cloud/cloud.cfg.d/90_fuseless.cfg": "NoCloud", "usr/local/share/ca-certificates/own.crt": "pem",
	} {
		if !strings.Contains(got[file], want) {
			t.Errorf("%s: %q", file, got[file])
		}
	}
	// mmdebstrap splits the hook like a shell.
	if argv := mmdebstrapArgv("/r", "/l", name, src); !slices.Contains(argv, "--customize-hook=tar-in '"+name+"' /") {
		t.Errorf("%q", argv)
	}
	if len(label) > 16 {
		t.Errorf("ext4 has no room for the label %q", label)
	}
}
