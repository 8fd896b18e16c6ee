package webdav

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// element is an element of a listing with what a test asks of it.
type element struct{ *html.Node }

func parsePage(t *testing.T, body string) element {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return element{doc}
}

// all are the elements below e with this tag, in the order of the document.
func (e element) all(tag string) []element {
	var found []element
	for n := range e.Descendants() {
		if n.Type == html.ElementNode && n.Data == tag {
			found = append(found, element{n})
		}
	}
	return found
}

func (e element) text() string {
	var b strings.Builder
	for n := range e.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	}
	return b.String()
}

func (e element) attr(key string) string {
	for _, a := range e.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// texts joins the texts of all elements with the tag.
func (e element) texts(tag string) string {
	var all []string
	for _, x := range e.all(tag) {
		all = append(all, x.text())
	}
	return strings.Join(all, "|")
}

// names are the names in the table, in its order.
func (e element) names() string {
	for _, body := range e.all("tbody") {
		return body.texts("bdi")
	}
	return ""
}

func TestListing(t *testing.T) {
	s, root := serveDir(t, true)
	write(t, strings.Repeat("x", 1_234_567), root, "Photos", "Summer", "b.jpg")
	write(t, "x", root, "Photos", "Summer", "a & b.txt")
	write(t, "", root, "Photos", "Summer", "day 1", "c.txt")
	date := time.Date(2024, 7, 1, 12, 30, 5, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(root, "Photos", "Summer", "b.jpg"), date, date); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/Photos/Summer/", "/Photos/Summer"} {
		res := s.do("GET", path, nil).want(t, 200)
		p := parsePage(t, res.body)
		if got := p.names(); got != "day 1|a & b.txt|b.jpg" {
			t.Errorf("names: %s", got)
		}
		if got := p.texts("caption"); got != "1 folder, 2 files, 1.2 MiB" {
			t.Errorf("caption: %s", got)
		}
		if got := p.texts("li"); got != "All files|Photos|Summer" || p.texts("h1") != "Summer" || p.texts("title") != "Summer – fuseless" {
			t.Errorf("breadcrumbs: %s; heading: %s; title: %s", got, p.texts("h1"), p.texts("title"))
		}
		for _, a := range p.all("a") {
			u, err := res.Request.URL.Parse(a.attr("href"))
			if err != nil {
				t.Fatal(err)
			}
			s.do("GET", u.RequestURI(), nil).want(t, 200)
			if got := a.attr("aria-current") == "page"; got != (a.text() == "Summer") {
				t.Errorf("%s: is the current page: %v", a.text(), got)
			}
		}
		if got := s.do("GET", "/Photos/Summer/a%20%26%20b.txt", nil).body; got != "x" {
			t.Errorf("got %q", got)
		}
		data, dates := p.all("data"), p.all("time")
		if len(data) != 2 || data[1].text() != "1.2 MiB" || data[1].attr("value") != "1234567" || data[1].attr("title") != "1,234,567 bytes" || data[0].attr("title") != "1 byte" {
			t.Errorf("sizes: %s", p.texts("data"))
		}
		if len(dates) != 3 || dates[2].text() != "2024-07-01 12:30" || dates[2].attr("datetime") != "2024-07-01T12:30:05Z" {
			t.Errorf("dates: %s", p.texts("time"))
		}
		if lang := p.all("html")[0].attr("lang"); lang != "en" {
			t.Errorf("language %q", lang)
		}
		for _, h := range p.all("th") {
			if h.attr("scope") == "" {
				t.Errorf("the head %s has no scope", h.text())
			}
		}
	}
	p := parsePage(t, s.do("GET", "/", nil).want(t, 200).body)
	if got := p.texts("li") + " " + p.texts("h1"); got != "All files All files" {
		t.Errorf("the root: %s", got)
	}
	os.Mkdir(filepath.Join(root, "none"), 0o755)
	if p := parsePage(t, s.do("GET", "/none/", nil).want(t, 200).body); p.texts("p") != "This folder is empty." || len(p.all("table")) > 0 {
		t.Errorf("an empty folder: %s", p.text())
	}
}

func TestListingOfHostileNames(t *testing.T) {
	s, root := serveDir(t, true)
	shown := map[string]string{
		"<script>alert(1)<|script>":     "<script>alert(1)<|script>",
		"<|style><img src=x onerror=a>": "<|style><img src=x onerror=a>",
		`"onmouseover="alert(1)`:        `"onmouseover="alert(1)`,
		"'>&amp;&#60;":                  "'>&amp;&#60;",
		"javascript:alert(1)":           "javascript:alert(1)",
		"{{.Title}}":                    "{{.Title}}",
		"100%25%":                       "100%25%",
		"a?b#c;d":                       "a?b#c;d",
		`..\..\x`:                       `..\..\x`,
		"line\nbreak\ttab\x1b[31m\x7f":  "line␊break␉tab␛[31m␡",
		"caf\xe9 \xff\xfe":              "caf\uFFFD \uFFFD\uFFFD",
		"c1 \u0085 \u2028":              "c1 \uFFFD \uFFFD",
		"photo\u202egpj.exe":            "photo\uFFFDgpj.exe",
		"\u2067x\u2069":                 "\uFFFDx\uFFFD",
		"שלום.txt":                      "שלום.txt",
		" two  blanks ":                 " two  blanks ",
		"...":                           "...",
		strings.Repeat("ü", 120):        strings.Repeat("ü", 120),
	}
	for name := range shown {
		write(t, "contents of "+name, root, name)
		write(t, "below "+name, root, "folder "+name, "f")
	}
	res := s.do("GET", "/", nil).want(t, 200)
	p := parsePage(t, res.body)
	seen := 0
	for _, a := range p.all("tbody")[0].all("a") {
		u, err := res.Request.URL.Parse(a.attr("href"))
		if err != nil {
			t.Fatal(err)
		}
		if u.Host != s.addr || u.Fragment != "" || u.RawQuery != "" {
			t.Fatalf("%s leads to %s", a.text(), u)
		}
		path, err := url.PathUnescape(u.EscapedPath())
		if err != nil {
			t.Fatal(err)
		}
		name := strings.Trim(path, "/")
		want := shown[name]
		if n, ok := strings.CutPrefix(name, "folder "); ok {
			want = "folder " + shown[n]
			inner := s.do("GET", a.attr("href"), nil).want(t, 200)
			q := parsePage(t, inner.body)
			if q.texts("h1") != want || q.names() != "f" {
				t.Errorf("%q: %s", name, q.text())
			}
			if got := s.do("GET", q.all("tbody")[0].all("a")[0].attr("href"), nil).want(t, 200).body; got != "below "+n {
				t.Errorf("%q: got %q", name, got)
			}
		} else if got := s.do("GET", a.attr("href"), nil).want(t, 200).body; got != "contents of "+name {
			t.Errorf("%q: got %q", name, got)
		}
		if got := a.texts("bdi"); got != want {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
		seen++
	}
	if seen != 2*len(shown) {
		t.Errorf("%d of %d entries are listed", seen, 2*len(shown))
	}
	for n := range p.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if slices.Contains([]string{"script", "img", "iframe", "object", "embed", "form", "base"}, n.Data) {
			t.Errorf("the page has an element %s", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("the page has an attribute %s=%q", a.Key, a.Val)
			}
		}
	}
}
