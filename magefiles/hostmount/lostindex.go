package hostmount

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// cached is what the index of a davfs2 cache says about one of its files.
type cached struct {
	lost bool   // it is not on the server
	name string // where it belongs, below the mountpoint and with "/"
}

// parseIndex reads the index that davfs2 writes when it ends in order (cache.c,
// write_node). Its keys are the names of the cache's files. A file that was
// refused is a reg below backup, without its former folder; a reg with a dirty,
// whatever its value, was never tried, as after SIGTERM, or exists only here.
//
// An index that is missing, or cut off because the cache was full, is an error:
// then nothing is known of any file.
func parseIndex(index []byte) (map[string]cached, error) {
	type node struct{ kind, name, cachePath, dirty string }
	files := map[string]cached{}
	d := xml.NewDecoder(bytes.NewReader(index))
	var open []node // from the root down to the element that is read
	var text string
	whole := false
	for {
		token, err := d.Token()
		if err == io.EOF && whole {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			open, text = append(open, node{kind: t.Name.Local}), ""
		case xml.CharData:
			text += string(t)
		case xml.EndElement:
			n := open[len(open)-1]
			open = open[:len(open)-1]
			if len(open) == 0 {
				if n.kind != "root" {
					return nil, errors.New("not an index of davfs2")
				}
				whole = true
				continue
			}
			switch parent := &open[len(open)-1]; n.kind {
			case "name":
				parent.name = text
			case "cache_path":
				parent.cachePath = text
			case "dirty":
				parent.dirty = "yes"
			case "reg":
				if n.cachePath == "" {
					continue
				}
				inBackup := slices.ContainsFunc(open, func(n node) bool { return n.kind == "backup" })
				name := n.name
				if inBackup {
					name = plainName(name)
				}
				for _, dir := range slices.Backward(open) {
					name = path.Join(dir.name, name) // the root and backup have none
				}
				file := path.Base(n.cachePath)
				files[file] = cached{lost: inBackup || n.dirty != "", name: localName(name, file)}
			}
		}
	}
}

// cacheSuffix is what mkstemp(3) adds to a file's name for its name in the cache.
var cacheSuffix = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

// plainName is the name of a file whose cache has it as file.
func plainName(file string) string {
	if name := cacheSuffix.ReplaceAllString(file, ""); name != "" {
		return name
	}
	return file
}

// localName is name, or file where name would lead out of a folder: it may be
// a server's.
func localName(name, file string) string {
	if !filepath.IsLocal(name) || strings.ContainsRune(name, 0) || path.Clean(name) == "." {
		return file
	}
	return path.Clean(name)
}
