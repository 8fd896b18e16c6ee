package webdav

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestKilledWhilePutting has four clients put files into one folder, while the real server is
// killed (SIGKILL) again and again, and started again. After each time each file is what it was
// or what was put, whole, and the latter if that was answered; nothing else is left.
func TestKilledWhilePutting(t *testing.T) {
	puts, kills := 1000, 100
	if testing.Short() {
		puts, kills = 100, 10
	}
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	k := &killer{t: t, r: rand.New(rand.NewPCG(seed, 0)), program: buildGuest(t), root: t.TempDir()}
	for c := range k.clients {
		folder := fmt.Sprintf("folder %d", c)
		if err := os.Mkdir(filepath.Join(k.root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			k.clients[c].files = append(k.clients[c].files,
				&putFile{name: fmt.Sprintf("file %d of %d", i, c)}, &putFile{name: fmt.Sprintf("%s/file %d", folder, i)})
		}
	}
	for k.kills < kills || int(k.puts.Load()) < puts {
		k.round()
		if t.Failed() {
			t.Fatalf("after %d PUTs and %d kills", k.puts.Load(), k.kills)
		}
	}
	p := launch(t, nil, k.program, k.root)
	k.swept(p)
	p.end()
	t.Logf("%d PUTs, %d of them answered; %d kills; of what was on its way %d are the old and %d the new; %d temporary files were left and removed",
		k.puts.Load(), k.answered.Load(), k.kills, k.old, k.new, k.left)
	if k.old == 0 || k.left == 0 || k.answered.Load() < int64(puts/4) {
		t.Error("that is not enough to show anything")
	}
}

// putFile is put by one client only.
type putFile struct {
	name string
	was  *[]byte // the contents; nil: there is none
	put  *[]byte // what was put, and not answered; nil: nothing
}

type killer struct {
	t             *testing.T
	r             *rand.Rand
	program, root string
	clients       [4]struct{ files []*putFile }

	kills, old, new, left int
	puts, answered        atomic.Int64
	took                  atomic.Int64 // ns from the last byte of a PUT to its answer, as it was seen last
}

// moment is when to kill: at a PUT of a round, counted from 1.
type moment struct {
	put      int64
	after    float64       // this part of its body was sent; above 1: all
	wait     time.Duration // after that
	answered bool          // after its answer instead
}

func (k *killer) moment() moment {
	m := moment{put: 1 + k.r.Int64N(14), after: k.r.Float64()}
	switch k.r.IntN(5) {
	case 0, 1:
	case 2, 3:
		m.after, m.wait = 2, time.Duration(k.r.Float64()*1.5*float64(k.took.Load()))
	case 4:
		m.answered = true
	}
	return m
}

// round starts the server, and ends when it was killed.
func (k *killer) round() {
	p := launch(k.t, nil, k.program, k.root)
	k.swept(p)
	m := k.moment()
	dead := make(chan struct{})
	kill := sync.OnceFunc(func() {
		close(dead)
		p.cmd.Process.Kill()
	})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	var number atomic.Int64
	var clients sync.WaitGroup
	for c := range k.clients {
		r := rand.New(rand.NewPCG(k.r.Uint64(), 0))
		clients.Go(func() {
			for {
				select {
				case <-dead:
					return
				default:
				}
				if number.Load() > m.put+1000 {
					k.t.Errorf("the moment does not come: %+v", m)
					kill()
					return
				}
				f := k.clients[c].files[r.IntN(len(k.clients[c].files))]
				data := randomData(r)
				body := &killingBody{data: bytes.NewReader(data), n: number.Add(1), moment: m, kill: kill, begin: func() {
					select {
					case <-dead:
					default:
						k.puts.Add(1)
					}
				}}
				f.put = &data
				err := k.send(transport, p.URL+esc(f.name), body, len(data), f.was == nil, r.IntN(2) == 0)
				if err == nil {
					f.was, f.put = f.put, nil
					k.answered.Add(1)
					if ended := body.ended.Load(); ended != nil {
						k.took.Store(int64(time.Since(*ended)))
					}
					if m.answered && body.n == m.put {
						kill()
					}
					continue
				}
				select {
				case <-dead: // which is why
				default:
					k.t.Errorf("%s: %v", f.name, err)
					kill()
				}
				return
			}
		})
	}
	clients.Wait()
	p.cmd.Wait()
	k.kills++
	k.check()
	// Some are to be new again.
	for _, c := range k.clients {
		for _, f := range c.files {
			if f.was != nil && k.r.IntN(3) == 0 {
				if err := os.Remove(filepath.Join(k.root, f.name)); err != nil {
					k.t.Fatal(err)
				}
				f.was = nil
			}
		}
	}
}

// send is nil for a PUT that was answered as it should be.
func (k *killer) send(transport *http.Transport, url string, body io.Reader, size int, isNew, chunked bool) error {
	req, err := http.NewRequest(http.MethodPut, url, io.NopCloser(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth(testUser, testPassword)
	req.ContentLength = int64(size)
	if chunked { // as macOS does
		req.ContentLength = -1
		req.Header.Set("X-Expected-Entity-Length", fmt.Sprint(size))
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	want := http.StatusNoContent
	if isNew {
		want = http.StatusCreated
	}
	if res.StatusCode != want {
		b, _ := io.ReadAll(res.Body)
		return fmt.Errorf("status %d, not %d: %s", res.StatusCode, want, b)
	}
	return nil
}

// check looks at what a kill has left, before the server is started again.
func (k *killer) check() {
	files := map[string]*putFile{}
	for _, c := range k.clients {
		for _, f := range c.files {
			files[f.name] = f
			b, err := os.ReadFile(filepath.Join(k.root, f.name))
			there := &b
			if os.IsNotExist(err) {
				there, err = nil, nil
			}
			switch {
			case err != nil:
				k.t.Error(err)
			case f.put != nil && same(there, f.put):
				k.new++
			case same(there, f.was):
				if f.put != nil {
					k.old++
				}
			default:
				k.t.Errorf("%s is %s, but was %s, and %s was put", f.name, describe(there), describe(f.was), describe(f.put))
			}
			f.was, f.put = there, nil
		}
	}
	for _, name := range filesIn(k.t, k.root) {
		if isTemporary(filepath.Base(name)) {
			k.left++
		} else if files[name] == nil {
			k.t.Errorf("%s was never put", name)
		}
	}
}

// swept looks at what is left when the server serves again.
func (k *killer) swept(p *process) {
	waitSwept(k.t, k.root)
	// What is there is also what clients get.
	f := k.clients[k.r.IntN(len(k.clients))].files[0]
	if f.was == nil {
		p.do("GET", esc(f.name), nil).want(k.t, 404)
	} else if got := p.do("GET", esc(f.name), nil).want(k.t, 200); got.body != string(*f.was) {
		k.t.Errorf("the server gives %d bytes for %s, which is %s", len(got.body), f.name, describe(f.was))
	}
}

// filesIn are the paths of the files in a folder and below it, and of folders that are hidden.
func filesIn(t *testing.T, root string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is being removed
		}
		if err == nil && (!e.IsDir() || isTemporary(e.Name())) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return names
}

// waitSwept waits until the server has removed what it hides, which it does while it serves.
func waitSwept(t *testing.T, root string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		names := filesIn(t, root)
		if !slices.ContainsFunc(names, hasTemporary) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("what a killed server left is still there: %q", names)
		}
	}
}

func same(a, b *[]byte) bool {
	return a == nil && b == nil || a != nil && b != nil && bytes.Equal(*a, *b)
}

func describe(b *[]byte) string {
	if b == nil {
		return "nothing"
	}
	return fmt.Sprintf("%d bytes, %.8x...", len(*b), *b)
}
