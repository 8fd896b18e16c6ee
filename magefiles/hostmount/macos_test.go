package hostmount

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

func macSpec(t *testing.T) Spec {
	return Spec{Vault: "photos", URL: "http://127.0.0.1:8765/", User: "fuseless", Password: []byte("0123abcd"),
		Mountpoint: "/Users/eve/My Photos", RuntimeDir: t.TempDir(), ReadOnly: true}
}

func TestMacMountArgv(t *testing.T) {
	spec := macSpec(t)
	want := []string{"/sbin/mount_webdav", "-S", "-a", "3", "-o", "rdonly,nosuid,nodev", "-v", "photos",
		"http://127.0.0.1:8765/", "/Users/eve/My Photos"}
	if got := macMountArgv(spec); !slices.Equal(got, want) {
		t.Errorf("argv\n%q, want\n%q", got, want)
	}
	spec.ReadOnly, spec.Vault = false, "--a/b:c"
	want[5], want[7] = "nosuid,nodev", "a-b-c"
	if got := macMountArgv(spec); !slices.Equal(got, want) {
		t.Errorf("writable: argv\n%q, want\n%q", got, want)
	}
}

func TestMacCredentials(t *testing.T) {
	want := "\x00\x00\x00\x08fuseless" + "\x00\x00\x00\x080123abcd" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	if got := macCredentials("fuseless", []byte("0123abcd")); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestMacMountHandsOverThePassword runs the mount with a recorder that does
// what mount_webdav does with its descriptor.
func TestMacMountHandsOverThePassword(t *testing.T) {
	spec := macSpec(t)
	var argv []string
	var read []byte
	sys := macSystem{run: func(_ context.Context, a []string, files ...*os.File) error {
		argv = a
		if len(files) != 1 {
			t.Fatalf("%d files are inherited", len(files))
		}
		if left, _ := filepath.Glob(filepath.Join(spec.RuntimeDir, "*")); len(left) > 0 {
			t.Errorf("the credentials have a name: %v", left)
		}
		if fi, err := files[0].Stat(); err != nil || fi.Mode() != 0o600 {
			t.Errorf("mode %v, %v", fi.Mode(), err)
		}
		if _, err := files[0].Seek(0, io.SeekStart); err != nil {
			t.Errorf("not seekable: %v", err)
		}
		var err error
		read, err = io.ReadAll(files[0])
		return err
	}}
	if err := sys.mount(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read, macCredentials(spec.User, spec.Password)) {
		t.Errorf("it reads %q", read)
	}
	if strings.Contains(strings.Join(argv, " "), string(spec.Password)) {
		t.Errorf("the password is in argv: %q", argv)
	}
	if string(spec.Password) != "0123abcd" {
		t.Error("the caller's password was changed")
	}
}

func TestMacMountFailure(t *testing.T) {
	sys := macSystem{run: func(context.Context, []string, ...*os.File) error {
		return &proc.ExitError{Name: "mount_webdav", Code: 19, Err: errors.New("exit status 19")}
	}}
	if err := sys.mount(t.Context(), macSpec(t)); proto.CodeOf(err) != proto.Mount {
		t.Errorf("error %v", err)
	}
}

func TestMacUnmount(t *testing.T) {
	spec := macSpec(t)
	plain := []string{"/sbin/umount", spec.Mountpoint}
	force := []string{"/usr/sbin/diskutil", "unmount", "force", spec.Mountpoint}
	busy := &proc.ExitError{Name: "umount", Code: 1, Err: errors.New("exit status 1"),
		Stderr: "umount(/Users/eve/My Photos): Resource busy -- try 'diskutil unmount'"}
	for _, c := range []struct {
		name    string
		mounted bool
		busy    bool
		force   bool
		want    [][]string
		code    proto.Code
		write   bool
		warns   bool
	}{
		{"idle", true, false, false, [][]string{plain}, proto.OK, false, false},
		{"not mounted", false, false, false, nil, proto.OK, false, false},
		{"busy", true, true, false, [][]string{plain}, proto.Busy, false, false},
		{"busy, by force", true, true, true, [][]string{plain, force}, proto.OK, false, false},
		{"writable", true, false, true, [][]string{plain}, proto.OK, true, false},
		{"writable, busy", true, true, false, [][]string{plain}, proto.Busy, true, false},
		{"writable, busy, by force", true, true, true, [][]string{plain, force}, proto.OK, true, true},
	} {
		spec.Force, spec.ReadOnly = c.force, !c.write
		var ran [][]string
		mounted := c.mounted
		sys := macSystem{
			run: func(_ context.Context, argv []string, _ ...*os.File) error {
				ran = append(ran, argv)
				if c.busy && argv[0] == plain[0] {
					return busy
				}
				mounted = false
				return nil
			},
			mounted: func(string) (string, bool, error) { return spec.URL, mounted, nil },
		}
		warning, err := sys.unmount(t.Context(), spec, c.mounted)
		if (warning != "") != c.warns {
			t.Errorf("%s: warning %q", c.name, warning)
		}
		if proto.CodeOf(err) != c.code {
			t.Errorf("%s: error %v", c.name, err)
		}
		if !slices.EqualFunc(ran, c.want, slices.Equal) {
			t.Errorf("%s: ran %q, want %q", c.name, ran, c.want)
		}
	}
}
