package webdav

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestDurable looks at the system calls of the real server. When the power goes, the old or the
// new is there, and what was answered is: whatever gets its name has been synced (fsync(2)), and
// the folder with the name is synced before the answer is on its way.
func TestDurable(t *testing.T) {
	root, log := realTempDir(t), filepath.Join(t.TempDir(), "strace")
	long := strings.Repeat("0123456789abcdef", (putBuffer+1<<20)/16)
	write(t, "old", root, "old")
	write(t, "x", root, "tree", "sub", "f")
	write(t, "y", root, "tree", "g")
	write(t, "z", root, "replaced", "sub", "h")
	p := straced(t, buildGuest(t), root, log)
	requests := []struct {
		method, path, body, destination string
		status                          int
		did                             []string // in this order, among others
	}{
		{"PUT", "/new", long, "", 201, []string{"create U", "change U", "fsync U", "rename U new", "fsync ."}},
		{"PUT", "/old", long, "", 204, []string{"create U", "change U", "fsync U", "rename U old", "fsync ."}},
		{"PUT", "/old", "", "", 204, []string{"create U", "fsync U", "rename U old", "fsync ."}},
		{"PUT", "/tree/new", "new", "", 201, []string{"create tree/U", "change tree/U", "fsync tree/U", "rename tree/U tree/new", "fsync tree"}},
		{"LOCK", "/locked", lockBody, "", 201, []string{"create locked", "fsync locked", "fsync ."}},
		{"MKCOL", "/made", "", "", 201, []string{"mkdirat made", "fsync ."}},
		{"MKCOL", "/made/sub", "", "", 201, []string{"mkdirat made/sub", "fsync made"}},
		{"COPY", "/new", "", "/copy", 201, []string{"create U", "change U", "fsync U", "rename U copy", "fsync ."}},
		{"COPY", "/new", "", "/tree/new", 204, []string{"create tree/U", "change tree/U", "fsync tree/U", "rename tree/U tree/new", "fsync tree"}},
		{"COPY", "/tree", "", "/made/tree", 201, []string{"mkdirat made/U", "fsync made/U/sub/f", "fsync made/U/sub", "fsync made/U", "rename made/U made/tree", "fsync made"}},
		{"COPY", "/tree", "", "/replaced", 204, []string{"fsync U/sub/f", "fsync U/sub", "fsync U", "fsync R/name", "fsync R", "fsync .", "rename replaced R/thing", "rename U replaced", "fsync .", "rename R U", "unlink U/thing/sub/h"}},
		{"MOVE", "/copy", "", "/moved", 201, []string{"rename copy moved", "fsync ."}},
		{"MOVE", "/moved", "", "/old", 204, []string{"rename moved old", "fsync ."}},
		{"MOVE", "/old", "", "/tree/old", 201, []string{"rename old tree/old", "fsync tree", "fsync ."}},
		{"MOVE", "/tree/old", "", "/old", 201, []string{"rename tree/old old", "fsync .", "fsync tree"}},
		{"MOVE", "/tree", "", "/replaced", 204, []string{"fsync R/name", "fsync R", "fsync .", "rename replaced R/thing", "rename tree replaced", "fsync .", "rename R U", "unlink U/thing/sub/f"}},
		{"DELETE", "/old", "", "", 204, []string{"unlink old", "fsync ."}},
		{"DELETE", "/made/tree/g", "", "", 204, []string{"unlink made/tree/g", "fsync made/tree"}},
		{"DELETE", "/replaced", "", "", 204, []string{"rename replaced U", "fsync .", "unlink U/sub/f"}},
	}
	for _, r := range requests {
		headers := []string{"X: y"}
		if r.destination != "" {
			headers = append(headers, "Destination: "+r.destination)
		}
		p.do(r.method, r.path, strings.NewReader(r.body), headers...).want(t, r.status)
	}
	p.end()
	d := &disk{t: t, root: root, dirty: map[string]bool{}}
	n, end := 0, 0
	for _, c := range readStrace(t, log) {
		answer := c.name == "write" && strings.HasPrefix(c.args[1], `"HTTP/1.1 2`)
		if !answer && (c.looks() || d.name(c.at(changes[c.name])) == "") {
			continue
		}
		if c.begin < end {
			t.Errorf("%s %q begins before the call before it has ended", c.name, c.args)
		}
		end = c.end
		if !answer {
			d.see(c)
			continue
		}
		if n == len(requests) {
			t.Fatalf("more than %d answers", n)
		}
		r := requests[n]
		did := d.answered()
		rest := did
		for _, want := range r.did {
			i := slices.Index(rest, want)
			if i < 0 {
				t.Errorf("%s %s %s: there is no %q, or not in the order of %q, in %q", r.method, r.path, r.destination, want, r.did, did)
				break
			}
			rest = rest[i+1:]
		}
		n++
	}
	if n != len(requests) {
		t.Errorf("%d answers are seen, not %d", n, len(requests))
	}
}
