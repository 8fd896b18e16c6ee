package testrun

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// As `go test -json` of Go 1.26 prints it.
const printed = `{"Action":"start","Package":"fuseless/a"}
{"Action":"run","Package":"fuseless/a","Test":"TestGood"}
{"Action":"output","Package":"fuseless/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"pass","Package":"fuseless/a","Test":"TestGood","Elapsed":0.1}
{"Action":"run","Package":"fuseless/a","Test":"TestSkipped"}
{"Action":"output","Package":"fuseless/a","Test":"TestSkipped","Output":"    a_test.go:12: litmus is not installed\n"}
{"Action":"output","Package":"fuseless/a","Test":"TestSkipped","Output":"--- SKIP: TestSkipped (0.00s)\n"}
{"Action":"skip","Package":"fuseless/a","Test":"TestSkipped","Elapsed":0}
{"Action":"run","Package":"fuseless/a","Test":"TestBad"}
{"Action":"output","Package":"fuseless/a","Test":"TestBad","Output":"    a_test.go:20: it lost a byte\n"}
{"Action":"fail","Package":"fuseless/a","Test":"TestBad","Elapsed":0}
{"Action":"fail","Package":"fuseless/a","Elapsed":0.3}
{"Action":"start","Package":"fuseless/b"}
{"Action":"output","Package":"fuseless/b","Test":"TestHangs","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"fuseless/b","Elapsed":600}
not JSON: a linker's complaint
`

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	if err := r.read(strings.NewReader(printed)); err != nil {
		t.Fatal(err)
	}
	r.summary(0)
	for _, want := range []string{
		"it lost a byte", "fail fuseless/a 0.3s", "panic: test timed out", "not JSON: a linker's complaint",
		"skipped a.TestSkipped: litmus is not installed\n", "\n1 passed, 2 failed, 1 skipped\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if want := []string{"a.TestBad", "fuseless/b"}; !slices.Equal(r.failures, want) {
		t.Errorf("failures %q, want %q", r.failures, want)
	}
	list := filepath.Join(t.TempDir(), "must-run.txt")
	if err := os.WriteFile(list, []byte("# why\na.TestGood\na.TestBad\na.TestSkipped\na.TestGone\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing, err := r.mustRun(list)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a.TestSkipped (litmus is not installed)", "a.TestGone (there is no such test)"}; !slices.Equal(missing, want) {
		t.Errorf("missing %q, want %q", missing, want)
	}
}
