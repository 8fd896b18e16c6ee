package webdav

import (
	"os"
	"strings"
	"testing"
)

func TestMacNoise(t *testing.T) {
	for _, refused := range []bool{false, true} {
		root := t.TempDir()
		for _, n := range []string{"f", "d/._old", "d/.DS_Store"} {
			write(t, "old", root, n)
		}
		s := start(t, newDir(t, root), false, func(s *Server) { s.opt.RefuseMacNoise = refused })
		status := func(made int) int {
			if refused {
				return 403
			}
			return made
		}
		s.do("PUT", "/._f", strings.NewReader("x")).want(t, status(201))
		s.do("PUT", "/.DS_Store", strings.NewReader("x")).want(t, status(201))
		s.do("LOCK", "/._g", strings.NewReader(lockInfo("exclusive"))).want(t, status(201))
		s.do("MKCOL", "/._h", nil).want(t, status(201))
		s.do("COPY", "/f", nil, "Destination: /d/._f").want(t, status(201))
		s.do("MOVE", "/f", nil, "Destination: /d/._g").want(t, status(201))
		// What is there can be changed, moved away and deleted; and a folder moves whole.
		s.do("PUT", "/d/._old", strings.NewReader("new")).want(t, 204)
		s.do("MOVE", "/d/.DS_Store", nil, "Destination: /settings").want(t, 201)
		s.do("MOVE", "/d", nil, "Destination: /e").want(t, 201)
		s.do("PUT", "/.other", strings.NewReader("x")).want(t, 201)
		if got := read(t, root, "e", "._old"); got != "new" {
			t.Errorf("refused %t: %q", refused, got)
		}
		s.do("DELETE", "/e/._old", nil).want(t, 204)
		if _, err := os.Stat(root + "/f"); (err == nil) != refused {
			t.Errorf("refused %t: %v", refused, err)
		}
	}
}
