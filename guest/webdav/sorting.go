package webdav

import (
	"cmp"
	"io/fs"
	"net/url"
	"slices"
	"strings"
)

// sorting is the order of a listing, as its address asks for it: ?sort=name,
// size or date, &order=asc or desc.
type sorting struct {
	by         string
	descending bool
}

// sortKeys are the values of sort, the default first, with the heads of their
// columns. What is larger or newer is what people look for, so these begin descending.
var sortKeys = []struct {
	by, head   string
	descending bool
}{{"name", "Name", false}, {"size", "Size", true}, {"date", "Modified (UTC)", true}}

// sortingOf reads a query. What it does not know it takes for the default.
func sortingOf(q url.Values) sorting {
	s := sorting{by: sortKeys[0].by, descending: sortKeys[0].descending}
	for _, k := range sortKeys {
		if q.Get("sort") == k.by {
			s = sorting{k.by, k.descending}
		}
	}
	switch q.Get("order") {
	case "asc":
		s.descending = false
	case "desc":
		s.descending = true
	}
	return s
}

func (s sorting) order() string {
	if s.descending {
		return "desc"
	}
	return "asc"
}

func (s sorting) fullQuery() string { return "?sort=" + s.by + "&order=" + s.order() }

// query is the query for s, "" for the default.
func (s sorting) query() string {
	if s == sortingOf(nil) {
		return ""
	}
	return s.fullQuery()
}

// sort sorts in place, folders first. Folders have no size. What is equal is
// in the order of the names as people have it, and then of their bytes.
func (s sorting) sort(infos []fs.FileInfo) {
	type entry struct {
		fi   fs.FileInfo
		name string
		size int64
	}
	all := make([]entry, len(infos))
	for i, fi := range infos {
		all[i] = entry{fi, nameKey(fi.Name()), fi.Size()}
		if fi.IsDir() {
			all[i].size = 0
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		if a.fi.IsDir() != b.fi.IsDir() {
			if a.fi.IsDir() {
				return -1
			}
			return 1
		}
		names := cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.fi.Name(), b.fi.Name()))
		by := names
		switch s.by {
		case "size":
			by = cmp.Compare(a.size, b.size)
		case "date":
			by = a.fi.ModTime().Compare(b.fi.ModTime())
		}
		if s.descending {
			by = -by
		}
		return cmp.Or(by, names)
	})
	for i, e := range all {
		infos[i] = e.fi
	}
}

// nameKey is a string in whose order names are: without regard to case, and
// numbers by their value, so that IMG_9 comes before IMG_10. (Unicode's own order,
// x/text/collate, is too large for the guest binary; see pageWriter.)
func nameKey(name string) string {
	const digits = "0123456789"
	lower := strings.ToLower(name)
	var b strings.Builder
	for lower != "" {
		i := strings.IndexAny(lower, digits)
		if i < 0 {
			i = len(lower)
		}
		b.WriteString(lower[:i])
		lower = lower[i:]
		rest := strings.TrimLeft(lower, digits)
		if number := lower[:len(lower)-len(rest)]; number != "" {
			number = strings.TrimLeft(number, "0")
			b.WriteByte('0')                         // where numbers are among other characters
			b.WriteByte(byte(min(255, len(number)))) // no name of Linux is longer
			b.WriteString(number)
		}
		lower = rest
	}
	return b.String()
}
