package hostmount

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"
)

// TestUnmountWaitsForUploads unmounts over a link that is slow, but moves.
func TestUnmountWaitsForUploads(t *testing.T) {
	needDavfs(t)
	setPatience(t, &uploadPatience, 10*time.Second) // the sync on a busy disk may take some seconds
	s := ownServer(t, t.TempDir(), false)
	s.put = func(r *http.Request) { r.Body = slow{r.Body} }
	spec := writable(t, s)
	told := make(chan string, 1)
	spec.Notice = func(s string) { told <- s }
	b := content(64 << 20)
	if err := os.WriteFile(filepath.Join(spec.Mountpoint, "film"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if w, err := Unmount(t.Context(), spec); err != nil || w != "" {
		t.Fatalf("unmounting: %v, warning %q", err, w)
	}
	if d := time.Since(start); d <= uploadPatience {
		t.Errorf("the upload took %v only: it proves nothing", d)
	}
	wantOnServer(t, s, "film", b)
	select {
	case s := <-told:
		t.Log(s)
	default:
		t.Error("nobody was told of the waiting")
	}
	wantNothingLeft(t, spec)
}

// slow is a body over a link of about 5 MiB/s.
type slow struct{ io.ReadCloser }

func (s slow) Read(b []byte) (int, error) {
	n, err := io.ReadFull(s.ReadCloser, b[:min(len(b), 64<<10)])
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	time.Sleep(time.Duration(n) * time.Second / (5 << 20))
	return n, err
}

// TestUploadsThatDoNotMove has a server that takes no byte. Unmount says so and
// leaves davfs2 at its work, until it is forced.
func TestUploadsThatDoNotMove(t *testing.T) {
	needDavfs(t)
	setPatience(t, &uploadPatience, 2*time.Second)
	setPatience(t, &forcePatience, 2*time.Second)
	b := content(8 << 20)
	stuck := func(t *testing.T) (s *server, spec Spec, release func()) {
		s = ownServer(t, t.TempDir(), false)
		on := make(chan struct{})
		s.put = func(*http.Request) { <-on }
		release = sync.OnceFunc(func() { close(on) })
		t.Cleanup(release)
		spec = writable(t, s)
		if err := os.WriteFile(filepath.Join(spec.Mountpoint, "film"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Unmount(t.Context(), spec)
		if proto.CodeOf(err) != proto.Busy || len(daemons(spec.Mountpoint)) != 1 {
			t.Fatalf("error %v, daemons %v", err, daemons(spec.Mountpoint))
		}
		t.Log(err)
		return s, spec, release
	}
	t.Run("then do", func(t *testing.T) {
		s, spec, release := stuck(t)
		// Somebody has detached it meanwhile: there is no mount, and davfs2 still has the file.
		if err := privilege.Run(t.Context(), proc.Cmd{Argv: []string{"umount", "-i", "-l", spec.Mountpoint}}); err != nil {
			t.Fatal(err)
		}
		if _, err := Unmount(t.Context(), spec); proto.CodeOf(err) != proto.Busy || len(daemons(spec.Mountpoint)) != 1 {
			t.Fatalf("detached: error %v, daemons %v", err, daemons(spec.Mountpoint))
		} else {
			t.Log(err)
		}
		release()
		setPatience(t, &uploadPatience, time.Minute)
		if w, err := Unmount(t.Context(), spec); err != nil || w != "" {
			t.Fatalf("unmounting: %v, warning %q", err, w)
		}
		wantOnServer(t, s, "film", b)
		wantNothingLeft(t, spec)
	})
	t.Run("by force", func(t *testing.T) {
		_, spec, _ := stuck(t)
		spec.Force = true
		interrupted, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Unmount(interrupted, spec); err == nil || len(daemons(spec.Mountpoint)) != 1 {
			t.Fatalf("interrupted: error %v, daemons %v", err, daemons(spec.Mountpoint))
		}
		_, err := Unmount(t.Context(), spec)
		wantLost(t, spec, err, map[string][]byte{"film": b})
	})
}

func setPatience(t *testing.T, p *time.Duration, d time.Duration) {
	old := *p
	t.Cleanup(func() { *p = old })
	*p = d
}
