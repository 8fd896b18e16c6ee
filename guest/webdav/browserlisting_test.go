package webdav

import (
	"bytes"
	"encoding/json"
	"flag"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
)

// With `go test ./guest/webdav -run TestBrowserColours -picture="$PWD/testdata/readme/browser.png"` it is made anew.
var picture = flag.String("picture", "", "a `file` to write the picture in README.md to, as a PNG")

// exampleFolder makes a folder such as people have.
func exampleFolder(t *testing.T, root string) {
	t.Helper()
	base := time.Date(2026, 8, 17, 9, 41, 0, 0, time.UTC)
	for i, e := range []struct {
		name string
		size int64
	}{
		{"Boat trip", -1}, {"Scans", -1}, {"IMG_0412.jpg", 3_412_998}, {"IMG_0413.jpg", 2_998_112}, {"IMG_0420.png", 8_123_456},
		{"Invoice.pdf", 88_231}, {"Notes from the island.txt", 1_204}, {"Überfahrt.mp4", 734_003_200}, {"שלום.txt", 17},
	} {
		path := filepath.Join(root, "Pictures", "2026", "Summer", e.name)
		if e.size < 0 {
			write(t, "x", path, "f")
		} else {
			write(t, "", path)
			if err := os.Truncate(path, e.size); err != nil {
				t.Fatal(err)
			}
		}
		date := base.Add(-time.Duration(i*i) * 7 * time.Hour)
		if err := os.Chtimes(path, date, date); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBrowserListing goes through folders as a person does: page by page, by
// clicks, where the page cannot run a script.
func TestBrowserListing(t *testing.T) {
	b := startBrowser(t)
	root := t.TempDir()
	exampleFolder(t, root)
	s := watch(t, browserServer(t, root))
	b.logIn(s)
	if m := b.messages(); len(m) > 0 {
		t.Errorf("the console says %q", m)
	}
	names := func() []string {
		return evaluate[[]string](b, `[...document.querySelectorAll("tbody bdi")].map(e => e.textContent)`)
	}
	sorted := func() string {
		return evaluate[string](b, `[...document.querySelectorAll("[aria-sort]")].map(e => e.textContent + " " + e.ariaSort).join()`)
	}

	b.click("a.folder", "load")
	b.click("a.folder", "load")
	b.click("a.folder", "load")
	byName := []string{"Boat trip", "Scans", "IMG_0412.jpg", "IMG_0413.jpg", "IMG_0420.png", "Invoice.pdf", "Notes from the island.txt", "Überfahrt.mp4", "שלום.txt"}
	if got := names(); !slices.Equal(got, byName) || sorted() != "Name ascending" {
		t.Errorf("by name: %q %s", got, sorted())
	}
	if got := evaluate[string](b, "window.origin"); got != "null" {
		t.Errorf("the page has the origin %s: there is no sandbox", got)
	}
	b.click("th.size a", "load")
	if got := names(); got[2] != "Überfahrt.mp4" || got[8] != "שלום.txt" || sorted() != "Size descending" {
		t.Errorf("by size: %q %s", got, sorted())
	}
	b.click("th.size a", "load")
	if got := names(); got[2] != "שלום.txt" || sorted() != "Size ascending" {
		t.Errorf("by size, the other way: %q %s", got, sorted())
	}
	b.click("th.date a", "load")
	if got := names(); got[2] != "IMG_0412.jpg" || sorted() != "Modified (UTC) descending" {
		t.Errorf("by date: %q %s", got, sorted())
	}
	b.click("a[href$='.txt']", "load")
	if got := evaluate[string](b, "location.pathname"); got != "/Pictures/2026/Summer/Notes%20from%20the%20island.txt" {
		t.Errorf("a text is shown at %s", got)
	}
	b.open(s.URL + "/Pictures/2026/Summer?sort=date")
	b.click("a[href$='Invoice.pdf']", "download Invoice.pdf")
	b.click("nav li:nth-child(2) a", "load")
	if got := evaluate[string](b, "document.title + location.search"); got != "Pictures – fuseless?sort=date&order=desc" {
		t.Errorf("the second breadcrumb leads to %s", got)
	}

	// Nothing was asked for but what was clicked on.
	for _, r := range s.requests() {
		if !strings.HasPrefix(r, "GET /Pictures/") {
			t.Errorf("the browser asked for %s", r)
		}
	}
}

// TestBrowserColours: what is told apart by the system's light or dark is
// readable in both, by WCAG 2.2's 1.4.3 (AA).
func TestBrowserColours(t *testing.T) {
	b := startBrowser(t)
	root := t.TempDir()
	exampleFolder(t, root)
	s := watch(t, browserServer(t, root))
	b.logIn(s)
	type pair struct{ What, Text, Page string }
	const pairs = `[...document.querySelectorAll("h1, a, caption, td, time, span.file")].map(e => ({
		What: e.textContent, Text: getComputedStyle(e).color, Page: getComputedStyle(document.body).backgroundColor}))`
	pages := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		b.prefer(scheme)
		b.open(s.URL + "/Pictures/2026/Summer/")
		if m := b.messages(); len(m) > 0 {
			t.Errorf("%s: the console says %q", scheme, m)
		}
		all := evaluate[[]pair](b, pairs)
		if len(all) < 30 {
			t.Fatalf("%s: only %d texts", scheme, len(all))
		}
		for _, p := range all {
			pages[scheme] = p.Page
			if c := contrast(t, p.Text, p.Page); c < 4.5 {
				t.Errorf("%s: %s: the contrast of %s on %s is %.1f", scheme, p.What, p.Text, p.Page, c)
			}
		}
	}
	if luminance(t, pages["light"]) < 0.8 || luminance(t, pages["dark"]) > 0.1 {
		t.Errorf("the page is %s where the system is light, %s where it is dark", pages["light"], pages["dark"])
	}
	if *picture != "" {
		b.takePicture(s.URL + "/Pictures/2026/Summer/")
	}
}

// luminance is the relative luminance of "rgb(r, g, b)", as WCAG 2.2 defines it.
func luminance(t *testing.T, css string) float64 {
	t.Helper()
	inner, ok := strings.CutPrefix(strings.TrimSuffix(css, ")"), "rgb(")
	parts := strings.Split(inner, ", ")
	if !ok || len(parts) != 3 {
		t.Fatalf("not an opaque colour: %s", css)
	}
	var sum float64
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		v, err := strconv.ParseFloat(parts[i], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += weight * linear(v/255)
	}
	return sum
}

// linear undoes sRGB's gamma for a channel from 0 to 1.
func linear(c float64) float64 {
	if c <= 0.04045 {
		return c / 12.92
	}
	return math.Pow((c+0.055)/1.055, 2.4)
}

// contrast is from 1 to 21.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestBrowserAccessibility asks for what a screen reader gets.
func TestBrowserAccessibility(t *testing.T) {
	b := startBrowser(t)
	root := t.TempDir()
	exampleFolder(t, root)
	write(t, "", root, "Pictures", "2026", "Summer", strings.Repeat("x", 200))
	s := watch(t, browserServer(t, root))
	b.logIn(s)
	b.open(s.URL + "/Pictures/2026/Summer/?sort=size")
	got := map[string]bool{}
	for _, n := range call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if n.Ignored || n.Role == nil || n.Name == nil {
			continue
		}
		var role, name string
		b.check(json.Unmarshal([]byte(n.Role.Value), &role))
		b.check(json.Unmarshal([]byte(n.Name.Value), &name))
		got[role+" "+name] = true
	}
	for _, want := range []string{
		"navigation Breadcrumb", "heading Summer", "link 2026", "main ", "table 2 folders, 8 files, 714 MiB",
		"columnheader Name", "columnheader Size", "columnheader Modified (UTC)", "link Size",
		"rowheader Boat trip (folder)", "link Boat trip (folder)", "rowheader Überfahrt.mp4", "link Überfahrt.mp4",
		"cell 700 MiB",
	} {
		if !got[want] {
			t.Errorf("there is no %s", want)
		}
	}
	if t.Failed() {
		for k := range got {
			t.Log(k)
		}
	}
	if title := evaluate[string](b, "document.title + document.documentElement.lang"); title != "Summer – fuselessen" {
		t.Errorf("title and language: %s", title)
	}
	// With a telephone's width nothing is cut off, nor to be reached by scrolling sideways only (WCAG 2.2, 1.4.10).
	b.check(chromedp.Do(b.ctx, chromedp.EmulateViewport(320, 640)))
	if w := evaluate[int](b, "document.documentElement.scrollWidth"); w > 320 {
		t.Errorf("at a width of 320 the page is %d wide", w)
	}
}

// takePicture writes the page in light and dark, side by side.
func (b *testBrowser) takePicture(url string) {
	b.t.Helper()
	const width, height = 640, 600
	both := image.NewRGBA(image.Rect(0, 0, 2*width, height))
	b.check(chromedp.Do(b.ctx, chromedp.EmulateViewport(width, height)))
	for i, scheme := range []string{"light", "dark"} {
		b.prefer(scheme)
		b.open(url)
		data, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		b.check(err)
		img, err := png.Decode(bytes.NewReader(data))
		b.check(err)
		draw.Draw(both, image.Rect(i*width, 0, (i+1)*width, height), img, img.Bounds().Min, draw.Src)
	}
	var out bytes.Buffer
	b.check((&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, paletted(both)))
	b.check(os.WriteFile(*picture, out.Bytes(), 0o644))
}

// paletted is img in its 256 most frequent colours, which halves the file.
func paletted(img *image.RGBA) image.Image {
	count := map[color.RGBA]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			count[img.RGBAAt(x, y)]++
		}
	}
	all := make([]color.RGBA, 0, len(count))
	for c := range count {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b color.RGBA) int { return count[b] - count[a] })
	var palette color.Palette
	for _, c := range all[:min(256, len(all))] {
		palette = append(palette, c)
	}
	p := image.NewPaletted(img.Bounds(), palette)
	draw.Draw(p, img.Bounds(), img, image.Point{}, draw.Src)
	return p
}
