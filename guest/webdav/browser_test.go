package webdav

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// testBrowser is a headless Chromium with one tab.
type testBrowser struct {
	t         *testing.T
	ctx       context.Context
	downloads string // where they go to

	mu       sync.Mutex
	console  []string    // what the developer's console says, and what the policies blocked
	happened chan string // "load" of a page, "download NAME", "console TEXT"
}

// startBrowser starts Chromium with a profile of its own. Tests that need one
// are skipped where there is none.
func startBrowser(t *testing.T) *testBrowser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed (Debian: apt install chromium)")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses root otherwise; this sandbox is not that of pages
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	b := &testBrowser{t: t, ctx: ctx, downloads: t.TempDir(), happened: make(chan string, 1000)}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	b.check(chromedp.Listen(ctx, b.event))
	b.check(chromedp.ListenBrowser(ctx, b.event))
	call(b, log.Enable, cdp.Empty{})
	call(b, audits.Enable, cdp.Empty{})
	_, err = chromedp.CallBrowser(ctx, browser.SetDownloadBehavior,
		browser.SetDownloadBehaviorParams{Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: b.downloads, EventsEnabled: new(true)})
	b.check(err)
	return b
}

func call[P, R any](b *testBrowser, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	res, err := chromedp.Call(b.ctx, c, params)
	b.check(err)
	return res
}

func (b *testBrowser) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// event runs in chromedp's loop, and must not block.
func (b *testBrowser) event(ev any) {
	say := func(text string) {
		b.mu.Lock()
		b.console = append(b.console, text)
		b.mu.Unlock()
		b.happened <- "console " + text
	}
	switch ev := ev.(type) {
	case *log.EventEntryAdded:
		say(ev.Entry.Text)
	case *audits.EventIssueAdded:
		say(fmt.Sprintf("issue %s", ev.Issue.Code))
	case *page.EventLoadEventFired:
		b.happened <- "load"
	case *browser.EventDownloadProgress:
		if ev.State == browser.DownloadProgressStateCompleted {
			b.happened <- "download " + filepath.Base(ev.FilePath)
		}
	}
}

// wait waits for something that begins with want.
func (b *testBrowser) wait(want string) string {
	b.t.Helper()
	var seen []string
	for {
		select {
		case h := <-b.happened:
			if strings.HasPrefix(h, want) {
				return h
			}
			seen = append(seen, h)
		case <-time.After(30 * time.Second):
			b.t.Fatalf("waited for %q in vain; there came %q", want, seen)
		}
	}
}

// messages are those of the console since the last call.
func (b *testBrowser) messages() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.console
	b.console = nil
	return all
}

// forget drops what has happened so far.
func (b *testBrowser) forget() {
	for len(b.happened) > 0 {
		<-b.happened
	}
	b.messages()
}

// open goes to url, as if it were typed in, and waits for the page.
func (b *testBrowser) open(url string) {
	b.t.Helper()
	b.forget()
	b.check(chromedp.Do(b.ctx, chromedp.Navigate(url)))
	b.wait("load")
}

// openFile goes to url, and waits until that is saved.
func (b *testBrowser) openFile(url string) string {
	b.t.Helper()
	b.forget()
	_ = chromedp.Do(b.ctx, chromedp.Navigate(url)) // an error, since there is no page
	return strings.TrimPrefix(b.wait("download "), "download ")
}

// click clicks on what the CSS selector finds, and waits for what comes of it.
func (b *testBrowser) click(selector, want string) {
	b.t.Helper()
	b.forget()
	b.check(chromedp.Do(b.ctx, chromedp.Click(chromedp.CSS(selector))))
	b.wait(want)
}

// evaluate runs an expression as the developer's tools do: also where the page may run none.
func evaluate[T any](b *testBrowser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	b.check(err)
	return v
}

func (b *testBrowser) prefer(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
}

// watched is a server that keeps account of what it was asked for.
type watched struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // "METHOD TARGET", each once
	came  chan struct{}
}

func watch(t *testing.T, h http.Handler) *watched {
	w := &watched{came: make(chan struct{}, 1)}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		if a := r.Method + " " + r.URL.RequestURI(); !slices.Contains(w.asked, a) {
			w.asked = append(w.asked, a)
		}
		w.mu.Unlock()
		select {
		case w.came <- struct{}{}:
		default:
		}
		h.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

// requests are those since the last call, sorted.
func (w *watched) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.asked
	w.asked = nil
	slices.Sort(all)
	return all
}

// expect waits until all of these have come.
func (w *watched) expect(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		w.mu.Lock()
		missing := slices.DeleteFunc(slices.Clone(want), func(r string) bool { return slices.Contains(w.asked, r) })
		w.mu.Unlock()
		if len(missing) == 0 {
			return
		}
		select {
		case <-w.came:
		case <-deadline:
			t.Fatalf("these did not come: %q", missing)
		}
	}
}

// logIn makes the browser remember user and password for the server.
func (b *testBrowser) logIn(s *watched) {
	b.t.Helper()
	b.open(strings.Replace(s.URL, "http://", "http://"+testUser+":"+browserPassword+"@", 1) + "/")
	s.requests()
}

const browserPassword = "correct-horse"

func browserServer(t *testing.T, root string) *Server {
	s, err := New(newDir(t, root), Options{User: testUser, Password: browserPassword, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
