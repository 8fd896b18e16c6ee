package webdav

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"testing"
)

// Whichever sync fails (fsync(2), EIO) while a folder is copied or moved over another: what was
// there is there, and nothing else.
func TestFailedSyncLeavesTheDestination(t *testing.T) {
	program := buildGuest(t)
	for _, method := range []string{"MOVE", "COPY"} {
		for n := 1; ; n++ {
			root := t.TempDir()
			write(t, "new", root, "from", "tree", "sub", "f")
			write(t, "new", root, "from", "tree", "g")
			write(t, "old", root, "to", "tree", "f")
			before := treeIn(t, root)
			p := straced(t, program, root, filepath.Join(t.TempDir(), "strace"), "-e", fmt.Sprintf("inject=fsync:error=EIO:when=%d", n))
			res := p.do(method, "/from/tree", nil, "Destination: /to/tree")
			p.end()
			if res.StatusCode == http.StatusNoContent {
				if n < 4 {
					t.Errorf("%s: only %d syncs", method, n-1)
				}
				break
			}
			if now := treeIn(t, root); res.StatusCode != 500 || !maps.Equal(now, before) {
				t.Errorf("%s, sync %d: status %d; it differs by %q and %q", method, n, res.StatusCode, now.differs(before), before.differs(now))
			}
			if t.Failed() {
				return
			}
		}
	}
}
