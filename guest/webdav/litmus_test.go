package webdav

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLitmus runs litmus's suites, a protocol test for WebDAV servers. All of
// it passes, as with apache's mod_dav; props needs extended attributes where temporary files are.
func TestLitmus(t *testing.T) {
	if _, err := exec.LookPath("litmus"); err != nil {
		t.Skip("litmus is not installed (Debian: apt install litmus)")
	}
	summary := regexp.MustCompile(`summary for .(\w+).: of \d+ tests run: (\d+) passed, (\d+) failed`)
	for suite, floor := range map[string]int{"basic": 16, "copymove": 13, "http": 4, "props": 30, "locks": 41} {
		t.Run(suite, func(t *testing.T) {
			s, _ := serveDir(t, false)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "litmus", s.URL+"/", testUser, testPassword)
			cmd.Dir = t.TempDir() // for its debug.log
			cmd.Env = append(os.Environ(), "TESTS="+suite)
			out, err := cmd.CombinedOutput()
			m := summary.FindSubmatch(out)
			if m == nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", strings.TrimSpace(string(m[0])))
			if passed, _ := strconv.Atoi(string(m[2])); passed < floor {
				t.Errorf("%d passed, want %d:\n%s", passed, floor, out)
			}
		})
	}
}
