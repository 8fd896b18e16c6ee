package hostmount

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"
)

func mountForTest(t *testing.T, spec Spec) {
	t.Helper()
	// Last of all, so that a failing test leaves nothing either. Not
	// t.Context(), which has ended by then.
	t.Cleanup(func() {
		spec.Force = true
		if w, err := Unmount(context.Background(), spec); err != nil {
			t.Errorf("unmounting: %v %s", err, w)
		}
	})
	if w, err := Mount(t.Context(), spec); err != nil || w != "" {
		t.Fatalf("mounting: %v, warning %q", err, w)
	}
}

func TestMountReadUnmount(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	spec := s.spec(t)
	mountForTest(t, spec)

	b, err := os.ReadFile(filepath.Join(spec.Mountpoint, "grüße.txt"))
	if err != nil || string(b) != "hello\n" {
		t.Fatalf("read %q, %v", b, err)
	}
	if err := os.WriteFile(filepath.Join(spec.Mountpoint, "new"), nil, 0o600); err == nil {
		t.Error("a read-only mount was written to")
	}
	for _, p := range []string{"", "grüße.txt"} {
		fi, err := os.Stat(filepath.Join(spec.Mountpoint, p))
		if err != nil || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q: other users may read it: %v, %v", p, fi.Mode(), err)
		}
	}
	// While it is mounted the password is in no file of ours.
	files, _ := filepath.Glob(filepath.Join(spec.RuntimeDir, "*"))
	for _, f := range files {
		if b, _ := os.ReadFile(f); bytes.Contains(b, spec.Password) {
			t.Errorf("the password is in %s", f)
		}
	}
	before := daemons(spec.Mountpoint)
	if len(before) != 1 {
		t.Fatalf("daemons: %v", before)
	}
	if _, err := Mount(t.Context(), spec); err != nil {
		t.Errorf("mounting again: %v", err)
	}
	if after := daemons(spec.Mountpoint); !slices.Equal(before, after) {
		t.Errorf("mounting again replaced %v by %v", before, after)
	}
	for range 2 {
		if w, err := Unmount(t.Context(), spec); err != nil || w != "" {
			t.Fatalf("unmounting: %v, warning %q", err, w)
		}
		wantNothingLeft(t, spec)
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	needDavfs(t)
	for name, spoil := range map[string]func(*server, *Spec){
		"wrong password": func(_ *server, spec *Spec) { spec.Password = []byte("wrong") },
		"server down":    func(s *server, _ *Spec) { s.Close() },
		"server down, unverified": func(s *server, spec *Spec) {
			s.Close()
			spec.Verify = nil // mount.davfs itself mounts, and returns 0
		},
		"server replaced while mounting": func(s *server, spec *Spec) {
			calls := 0
			spec.Verify = func(ctx context.Context) error {
				if calls++; calls == 2 {
					return proto.Errorf(proto.Serve, "a stranger answers")
				}
				return nil
			}
		},
		"cancelled": func(_ *server, spec *Spec) {
			spec.Verify = func(context.Context) error { return context.Canceled }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			spec := s.spec(t)
			spoil(s, &spec)
			_, err := Mount(t.Context(), spec)
			if err == nil {
				t.Error("no error")
			}
			t.Log(err)
			wantNothingLeft(t, spec)
			if err == nil {
				mountForTest(t, spec)
			}
		})
	}
}

func TestServerHangsWhileMounting(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	spec := s.spec(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-s.held; cancel() }()
	s.hold()
	if _, err := Mount(ctx, spec); err == nil {
		t.Error("no error")
	}
	wantNothingLeft(t, spec)
}

func TestMountpointInTheWay(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	full := s.spec(t)
	if err := os.MkdirAll(filepath.Join(full.Mountpoint, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := s.spec(t)
	if err := os.WriteFile(file.Mountpoint, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	foreign := s.spec(t)
	if err := os.Mkdir(foreign.Mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := privilege.Run(t.Context(), proc.Cmd{Argv: []string{"mount", "-t", "tmpfs", "theirs", foreign.Mountpoint}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = privilege.Run(context.Background(), proc.Cmd{Argv: []string{"umount", foreign.Mountpoint}})
	})
	for name, spec := range map[string]Spec{"a full folder": full, "a file": file, "another mount": foreign} {
		if _, err := Mount(t.Context(), spec); proto.CodeOf(err) != proto.Mount {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := Unmount(t.Context(), foreign); proto.CodeOf(err) != proto.Mount {
		t.Errorf("unmounting what is not ours: error %v", err)
	}
	if _, ok, _ := Mounted(foreign.Mountpoint); !ok {
		t.Error("a mount that is not ours was unmounted")
	}
}

func TestEmptyFolderOfTheUserStays(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	spec := s.spec(t)
	if err := os.Mkdir(spec.Mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	mountForTest(t, spec)
	if _, err := Unmount(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(spec.Mountpoint); err != nil {
		t.Error("the user's own folder was removed")
	}
}

func TestMountThroughSymlink(t *testing.T) {
	needDavfs(t)
	s := newServer(t)
	spec := s.spec(t)
	target := spec
	target.Mountpoint = filepath.Join(t.TempDir(), "target")
	if err := os.Mkdir(target.Mountpoint, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target.Mountpoint, spec.Mountpoint); err != nil {
		t.Fatal(err)
	}
	mountForTest(t, spec)
	if source, ok, err := Mounted(spec.Mountpoint); !ok || source != spec.URL || err != nil {
		t.Errorf("Mounted = %q, %v, %v", source, ok, err)
	}
}

func TestWithoutRootTheHintIsGio(t *testing.T) {
	old := checkRoot
	t.Cleanup(func() { checkRoot = old })
	checkRoot = func(context.Context) error { return proto.Errorf(proto.Prerequisite, "sudo asks for a password") }
	s := newServer(t)
	spec := s.spec(t)
	_, err := Mount(t.Context(), spec)
	want := "gio mount dav://fuseless@" + s.Listener.Addr().String() + "/"
	if proto.CodeOf(err) != proto.Prerequisite || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want the hint %s", err, want)
	}
	wantNothingLeft(t, spec)
}

// TestNoProxyGetsThePassword has the two ways in which davfs2 comes by a proxy.
func TestNoProxyGetsThePassword(t *testing.T) {
	needDavfs(t)
	asked := make(chan string, 100)
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.RequestURI }))
	t.Cleanup(proxy.Close)
	s := newServer(t)

	t.Setenv("http_proxy", proxy.URL)
	spec := s.spec(t)
	mountForTest(t, spec)

	old := systemConfFile
	t.Cleanup(func() { systemConfFile = old })
	systemConfFile = filepath.Join(t.TempDir(), "davfs2.conf")
	if err := os.WriteFile(systemConfFile, []byte("proxy proxy.example:8080\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec = s.spec(t)
	if _, err := Mount(t.Context(), spec); proto.CodeOf(err) != proto.Mount || !strings.Contains(err.Error(), "use_proxy 0") {
		t.Errorf("with a proxy in davfs2.conf: error %v", err)
	}
	wantNothingLeft(t, spec)
	if len(asked) > 0 {
		t.Errorf("the proxy was asked for %s", <-asked)
	}
}
