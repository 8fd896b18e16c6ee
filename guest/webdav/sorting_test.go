package webdav

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sized is an entry that gives itself another size, as folders have any.
type sized struct {
	fs.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }

func TestListingSorts(t *testing.T) {
	root := t.TempDir()
	s := serve(t, &fakeFS{Dir: newDir(t, root), faults: faults{onReadDir: func(infos []fs.FileInfo) ([]fs.FileInfo, error) {
		for i, fi := range infos {
			if fi.IsDir() {
				infos[i] = sized{fi, int64(fi.Name()[0])} // z has more than Y
			}
		}
		return infos, nil
	}}}, true)
	date := time.Date(2024, 7, 1, 0, 0, 0, 0, time.UTC)
	for i, n := range []string{"IMG_10.jpg", "IMG_9.jpg", "b", "A", "Ärger", "a"} {
		write(t, strings.Repeat("x", i%4), root, n)
		os.Chtimes(filepath.Join(root, n), date, date.AddDate(0, 0, -i))
	}
	for i, n := range []string{"z", "Y"} {
		write(t, "", root, n, "f")
		os.Chtimes(filepath.Join(root, n), date, date.AddDate(0, 0, i))
	}
	for query, want := range map[string]string{
		"":                     "Y|z|A|a|b|IMG_9.jpg|IMG_10.jpg|Ärger",
		"?sort=name&order=asc": "Y|z|A|a|b|IMG_9.jpg|IMG_10.jpg|Ärger",
		"?order=desc":          "z|Y|Ärger|IMG_10.jpg|IMG_9.jpg|b|a|A",
		"?sort=size":           "Y|z|A|b|a|IMG_9.jpg|IMG_10.jpg|Ärger",
		"?sort=size&order=asc": "Y|z|IMG_10.jpg|Ärger|a|IMG_9.jpg|b|A",
		"?sort=date":           "Y|z|IMG_10.jpg|IMG_9.jpg|b|A|Ärger|a",
		"?sort=date&order=asc": "z|Y|a|Ärger|A|b|IMG_9.jpg|IMG_10.jpg",
		"?sort=x&order=y&a=%":  "Y|z|A|a|b|IMG_9.jpg|IMG_10.jpg|Ärger",
	} {
		p := parsePage(t, s.do("GET", "/"+query, nil).want(t, 200).body)
		if got := p.names(); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}

	// The heads say the order, and lead to the others; folders keep it.
	heads := func(p element) (sorted string) {
		for _, h := range p.all("thead")[0].all("th") {
			sorted += h.text() + " " + h.attr("aria-sort") + " " + h.all("a")[0].attr("href") + "\n"
		}
		return sorted
	}
	p := parsePage(t, s.do("GET", "/", nil).body)
	if got, want := heads(p), "Name ascending ?sort=name&order=desc\nSize  ?sort=size&order=desc\nModified (UTC)  ?sort=date&order=desc\n"; got != want {
		t.Errorf("heads:\n%swant\n%s", got, want)
	}
	if a := p.all("tbody")[0].all("a")[0]; a.attr("href") != "/Y/" {
		t.Errorf("link %s", a.attr("href"))
	}
	p = parsePage(t, s.do("GET", "/?sort=size", nil).body)
	if got, want := heads(p), "Name  ?sort=name&order=asc\nSize descending ?sort=size&order=asc\nModified (UTC)  ?sort=date&order=desc\n"; got != want {
		t.Errorf("heads:\n%swant\n%s", got, want)
	}
	if links := p.all("tbody")[0].all("a"); links[0].attr("href") != "/Y/?sort=size&order=desc" || links[2].attr("href") != "/A" {
		t.Errorf("links %s, %s", links[0].attr("href"), links[2].attr("href"))
	}
	if a := p.all("li")[0].all("a")[0]; a.attr("href") != "/?sort=size&order=desc" {
		t.Errorf("link %s", a.attr("href"))
	}
}
