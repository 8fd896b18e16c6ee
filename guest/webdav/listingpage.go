package webdav

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"
)

//go:embed listing.css
var listingCSS string

// listingPolicy lets the page apply its one style sheet, by its hash (CSP 3,
// 8.4), and follow links, and nothing else. Without allow-downloads Chromium
// ignores a click on a file that is an attachment. No token of the sandbox is about
// following a link in the same tab.
var listingPolicy = "sandbox allow-downloads; default-src 'none'; style-src 'sha256-" + hash(listingCSS) +
	"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// markup is HTML of ours. A constant becomes it by itself; a variable, which
// may have come from the tree, does not, and can only be written as text or as an address.
type markup string

// pageWriter writes HTML. html/template would do so too, but reflects on
// methods by name, so that the linker must keep all of them: with it the guest binary grows
// by a quarter, and Lima takes no description of a VM with such a binary in it (4 MiB at most).
type pageWriter struct {
	w *bufio.Writer // an error shows in Flush
	b []byte        // scratch
}

func (p *pageWriter) html(m markup) { p.w.WriteString(string(m)) }

// text writes s as text or as the value of an attribute in double quotes.
func (p *pageWriter) text(s string) {
	p.b = appendText(p.b[:0], s)
	p.w.Write(p.b)
}

// href writes the address of name, with a query, for an attribute in double quotes.
func (p *pageWriter) href(name string, dir bool, query string) {
	p.b = appendText(appendHref(p.b[:0], name, dir), query)
	p.w.Write(p.b)
}

const rootTitle = "All files"

const listingHead = `<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E%3Cpath fill='%232f7dd1' d='M3 5h6l2 2h10v12H3z'/%3E%3C/svg%3E">
`

// writeListing writes the page for the folder name. infos gets the order that by has.
func writeListing(w io.Writer, name string, infos []fs.FileInfo, by sorting) error {
	p := &pageWriter{w: bufio.NewWriterSize(w, 32<<10)}
	title := rootTitle
	if name != "." {
		title = printable(path.Base(name))
	}
	p.html("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>")
	p.text(title)
	p.html(" – fuseless</title>\n" + listingHead + "<style>")
	p.html(markup(listingCSS))
	p.html("</style>\n</head>\n<body>\n<header>\n")
	p.breadcrumbs(name, by.query())
	p.html("<h1><bdi>")
	p.text(title)
	p.html("</bdi></h1>\n</header>\n<main>\n")
	if len(infos) == 0 {
		p.html("<p>This folder is empty.</p>\n")
	} else {
		p.html("<table>\n<caption>")
		p.text(summary(infos))
		p.html("</caption>\n")
		p.columns(by)
		p.html("<tbody>\n")
		by.sort(infos)
		for _, fi := range infos {
			p.row(name, fi, by.query())
		}
		p.html("</tbody>\n</table>\n")
	}
	p.html("</main>\n</body>\n</html>\n")
	return p.w.Flush()
}

// breadcrumbs leads from the root to the folder itself, in the order that is asked for.
func (p *pageWriter) breadcrumbs(name, query string) {
	p.html("<nav aria-label=\"Breadcrumb\">\n<ol>\n")
	crumb := func(name, title string, last bool) {
		p.html(`<li><a href="`)
		p.href(name, true, query)
		p.html(`"`)
		if last {
			p.html(` aria-current="page"`)
		}
		p.html("><bdi>")
		p.text(title)
		p.html("</bdi></a></li>\n")
	}
	crumb(".", rootTitle, name == ".")
	for end, elem := 0, ""; name != "." && end < len(name); end++ { // past the slash
		elem, _, _ = strings.Cut(name[end:], "/")
		end += len(elem)
		crumb(name[:end], printable(elem), end == len(name))
	}
	p.html("</ol>\n</nav>\n")
}

// columns writes the heads, with links that sort by them or, if that is the
// order already, the other way round.
func (p *pageWriter) columns(by sorting) {
	p.html("<thead>\n<tr>\n")
	for _, k := range sortKeys {
		next := sorting{k.by, k.descending}
		p.html(`<th scope="col" class="`)
		p.text(k.by)
		p.html(`"`)
		if k.by == by.by {
			next.descending = !by.descending
			p.html(` aria-sort="`)
			p.text(by.order() + "ending")
			p.html(`"`)
		}
		p.html(`><a href="`)
		p.text(next.fullQuery())
		p.html(`">`)
		p.text(k.head)
		p.html("</a></th>\n")
	}
	p.html("</tr>\n</thead>\n")
}

func (p *pageWriter) row(folder string, fi fs.FileInfo, query string) {
	name := printable(fi.Name())
	if _, ok := fi.(Unknown); ok {
		p.html(`<tr><th scope="row"><span class="file"><bdi>`)
		p.text(name)
		p.html("</bdi></span></th><td colspan=\"2\" class=\"note\">cannot be read</td></tr>\n")
		return
	}
	p.html(`<tr><th scope="row"><a href="`)
	if fi.IsDir() {
		p.href(path.Join(folder, fi.Name()), true, query)
		p.html(`" class="folder"><bdi>`)
		p.text(name)
		p.html(`</bdi><span class="hidden"> (folder)</span></a></th><td>`)
	} else {
		p.href(path.Join(folder, fi.Name()), false, "")
		p.html(`" class="file"><bdi>`)
		p.text(name)
		p.html(`</bdi></a></th><td><data value="`)
		p.text(strconv.FormatInt(fi.Size(), 10))
		p.html(`" title="`)
		p.text(counted(fi.Size(), "byte"))
		p.html(`">`)
		p.text(size(fi.Size()))
		p.html("</data>")
	}
	t := writable(fi.ModTime())
	p.html(`</td><td><time datetime="`)
	p.text(t.Format(time.RFC3339))
	p.html(`">`)
	p.text(t.Format("2006-01-02 15:04"))
	p.html("</time></td></tr>\n")
}
