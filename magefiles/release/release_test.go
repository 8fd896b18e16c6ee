package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fuseless/guest/proto"
	"fuseless/magefiles/guestbin"
)

var update = flag.Bool("update", false, "write the golden file")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fake is a checkout whose task binaries say only for what they are.
func fake(t *testing.T) maker {
	t.Helper()
	src := t.TempDir()
	for _, name := range []string{"README.md", "LICENSE"} {
		must(t, os.WriteFile(filepath.Join(src, name), []byte("this is "+name+"\n"), 0o600))
	}
	return maker{src: src, platforms: platforms, compile: func(_ context.Context, _ string, tasks ...guestbin.Task) error {
		for _, task := range tasks {
			must(t, os.MkdirAll(filepath.Dir(task.Out), 0o755))
			must(t, os.WriteFile(task.Out, []byte(standIn(task.OS, task.Arch)), 0o700))
		}
		return nil
	}}
}

func standIn(os, arch string) string { return "fuseless for " + os + "/" + arch }

// names lists a folder.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// contents reads all files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, n := range names(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, n))
		must(t, err)
		all[n] = string(b)
	}
	return all
}

func TestRelease(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	to := t.TempDir()
	var out strings.Builder
	must(t, fake(t).run(t.Context(), Options{To: to, Version: "v1.2.0", Out: &out}))
	if got := names(t, to); !slices.Equal(got, []string{"1.2.0"}) {
		t.Fatalf("made %q", got)
	}
	dir := filepath.Join(to, "1.2.0")
	want := []string{
		"SHA256SUMS", "fuseless.rb",
		"fuseless_1.2.0_darwin_amd64.tar.gz", "fuseless_1.2.0_darwin_arm64.tar.gz",
		"fuseless_1.2.0_linux_amd64.tar.gz", "fuseless_1.2.0_linux_arm64.tar.gz",
	}
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("made %q", got)
	}
	for _, p := range platforms {
		unpack(t, filepath.Join(dir, p.archive("1.2.0")), standIn(p.os, p.arch))
	}
	all := contents(t, dir)
	for _, n := range want[1:] {
		if !strings.Contains(all["SHA256SUMS"], "  "+n+"\n") {
			t.Errorf("no checksum of %s", n)
		}
		// The archives' are what brew checks, too.
		sum, _, _ := strings.Cut(all["SHA256SUMS"][strings.Index(all["SHA256SUMS"], n)-66:], " ")
		if n != "fuseless.rb" && !strings.Contains(all["fuseless.rb"], fmt.Sprintf("/v1.2.0/%s\"\n      sha256 %q\n", n, sum)) {
			t.Errorf("the formula has not the address and checksum of %s:\n%s", n, all["fuseless.rb"])
		}
		if !strings.Contains(out.String(), n) {
			t.Errorf("it does not say that it made %s:\n%s", n, out.String())
		}
	}
	verify(t, dir)
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm()&0o055 != 0o055 {
		t.Errorf("others cannot read it: %v %v", fi.Mode(), err)
	}
}

// verify checks the checksums as a user would.
func verify(t *testing.T, dir string) {
	t.Helper()
	argv := []string{"sha256sum", "-c", "--strict", "SHA256SUMS"}
	if _, err := exec.LookPath(argv[0]); err != nil {
		argv = []string{"shasum", "-a", "256", "-c", "SHA256SUMS"} // macOS
	}
	c := exec.Command(argv[0], argv[1:]...)
	c.Dir = dir
	if said, err := c.CombinedOutput(); err != nil || strings.Count(string(said), ": OK\n") != 5 {
		t.Errorf("%v: %v\n%s", argv, err, said)
	}
}

// unpack checks that an archive has nothing in it that depends on who made it,
// and when.
func unpack(t *testing.T, file, task string) {
	t.Helper()
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	must(t, err)
	if !z.ModTime.IsZero() || z.Name != "" || z.Comment != "" || len(z.Extra) > 0 {
		t.Errorf("gzip's header: %+v", z.Header)
	}
	want := []struct {
		name, content string
		mode          int64
	}{{"LICENSE", "this is LICENSE\n", 0o644}, {"README.md", "this is README.md\n", 0o644}, {"fuseless", task, 0o755}}
	r := tar.NewReader(z)
	for _, w := range want {
		h, err := r.Next()
		must(t, err)
		content, err := io.ReadAll(r)
		must(t, err)
		if h.Name != w.name || h.Mode != w.mode || string(content) != w.content || h.Typeflag != tar.TypeReg {
			t.Errorf("%s: got %s with mode %o: %q", file, h.Name, h.Mode, content)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" || !h.ModTime.Equal(time.Unix(1767225600, 0)) || len(h.PAXRecords) > 0 {
			t.Errorf("%s: %+v", file, h)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("%s holds more: %v", file, err)
	}
}

// TestSameVersionAgain: a second release replaces the first, and nobody sees a
// part of it before.
func TestSameVersionAgain(t *testing.T) {
	to := t.TempDir()
	o := Options{To: to, Version: "1.2.0", Out: io.Discard}
	m := fake(t)
	must(t, m.run(t.Context(), o))
	first := contents(t, filepath.Join(to, "1.2.0"))
	must(t, os.WriteFile(filepath.Join(to, "1.2.0", "fuseless_1.2.0_linux_riscv64.tar.gz"), []byte("no longer made"), 0o644))

	compile := m.compile
	m.compile = func(ctx context.Context, src string, tasks ...guestbin.Task) error {
		must(t, compile(ctx, src, tasks...))
		if got := contents(t, filepath.Join(to, "1.2.0")); len(got) != len(first)+1 {
			t.Errorf("before the second is complete, of the first there is only %d files", len(got))
		}
		return errors.New("the compiler fails")
	}
	if err := m.run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the compiler fails") {
		t.Errorf("got %v", err)
	}
	if got := names(t, to); !slices.Equal(got, []string{"1.2.0"}) {
		t.Errorf("a failure leaves %q", got)
	}
	m.compile = compile

	license := filepath.Join(m.src, "LICENSE")
	must(t, os.Rename(license, license+".away"))
	if err := m.run(t.Context(), o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a LICENSE: %v", err)
	}
	if got := contents(t, filepath.Join(to, "1.2.0")); len(got) != len(first)+1 {
		t.Errorf("a failure while packing leaves %d files of the first", len(got))
	}
	must(t, os.Rename(license+".away", license))

	must(t, m.run(t.Context(), o))
	second := contents(t, filepath.Join(to, "1.2.0"))
	if fmt.Sprint(first) != fmt.Sprint(second) {
		t.Errorf("it differs, in one of %q", names(t, filepath.Join(to, "1.2.0")))
	}
	if got := names(t, to); !slices.Equal(got, []string{"1.2.0"}) {
		t.Errorf("left %q", got)
	}
}

// TestRefused: what cannot be done leaves everything as it was.
func TestRefused(t *testing.T) {
	to := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(to, "2026"), 0o755))
	must(t, os.WriteFile(filepath.Join(to, "2026", "letter.txt"), []byte("mine"), 0o644))
	for name, c := range map[string]struct {
		o     Options
		epoch string
		says  string
	}{
		"somebody's folder":    {Options{Version: "2026"}, "", "letter.txt"},
		"a path":               {Options{Version: "1/../../x"}, "", "cannot be a version"},
		"a version from a tag": {Options{Version: "vnext"}, "", "cannot be a version"},
		"Ruby in the address":  {Options{Version: "1.2.0", URL: `https://example.org/#{exit}`}, "", "where the archives are"},
		"a quote":              {Options{Version: "1.2.0", URL: `https://example.org/"`}, "", "where the archives are"},
		"no https":             {Options{Version: "1.2.0", URL: "http://example.org/"}, "", "where the archives are"},
		"no host":              {Options{Version: "1.2.0", URL: "https:///x"}, "", "where the archives are"},
		"a date in words":      {Options{Version: "1.2.0"}, "yesterday", "SOURCE_DATE_EPOCH"},
		"a date before tar's":  {Options{Version: "1.2.0"}, "-1", "SOURCE_DATE_EPOCH"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SOURCE_DATE_EPOCH", c.epoch)
			c.o.To, c.o.Out = to, io.Discard
			err := fake(t).run(t.Context(), c.o)
			var e *proto.Error
			if !errors.As(err, &e) || e.Code != proto.Config || e.Hint == "" || !strings.Contains(e.Message, c.says) {
				t.Errorf("got %v", err)
			}
			if got := names(t, to); !slices.Equal(got, []string{"2026"}) {
				t.Errorf("left %q", got)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(to, "2026", "letter.txt")); err != nil || string(b) != "mine" {
		t.Errorf("%q %v", b, err)
	}
}

func TestFormula(t *testing.T) {
	sums := map[string]string{}
	for i, p := range platforms {
		sums[p.archive("1.2.0")] = strings.Repeat(fmt.Sprint(i), 64)
	}
	url, err := downloads("", "1.2.0")
	must(t, err)
	got, err := formula("1.2.0", url, sums)
	must(t, err)
	file := filepath.Join("..", "..", "testdata", "release", "formula.golden")
	if *update {
		must(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (-update writes it):\n%s", file, got)
	}
	if ruby, err := exec.LookPath("ruby"); err == nil {
		c := exec.Command(ruby, "-c")
		c.Stdin = bytes.NewReader(got)
		if said, err := c.CombinedOutput(); err != nil {
			t.Errorf("ruby -c: %v\n%s", err, said)
		}
	}

	for address, page := range map[string]string{
		"https://git.example.org/me/fuseless/releases/download/VERSION/": "https://git.example.org/me/fuseless",
		"file:///tmp/releases/VERSION":                                   homepage,
	} {
		url, err := downloads(address, "1.2.0")
		must(t, err)
		got, err := formula("1.2.0", url, sums)
		must(t, err)
		for _, say := range []string{
			fmt.Sprintf("homepage %q\n", page),
			fmt.Sprintf("url %q\n", strings.TrimSuffix(strings.ReplaceAll(address, "VERSION", "1.2.0"), "/")+"/fuseless_1.2.0_linux_arm64.tar.gz"),
		} {
			if !strings.Contains(string(got), say) {
				t.Errorf("%s: no %s in\n%s", address, say, got)
			}
		}
	}
}
