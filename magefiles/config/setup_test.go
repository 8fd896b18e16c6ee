package config

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"

	"fuseless/guest/proto"
	"fuseless/magefiles/passphrase"
)

// script answers questions in order; "" takes the suggestion.
type script struct {
	answers []string
	asked   []string // question [suggestion]
	said    strings.Builder
}

func (s *script) Ask(_ context.Context, question, suggestion string) (string, error) {
	s.asked = append(s.asked, question+" ["+suggestion+"]")
	if len(s.answers) == 0 {
		return "", io.EOF
	}
	answer := s.answers[0]
	s.answers = s.answers[1:]
	if answer == "" {
		answer = suggestion
	}
	return answer, nil
}

func (s *script) Say(text string) { s.said.WriteString(text + "\n") }

// home makes a home folder with Pictures in it.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	if err := os.Mkdir(filepath.Join(dir, "Pictures & more"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSetup(t *testing.T) {
	dir := home(t)
	file := filepath.Join(dir, "conf", "fuseless", FileName)
	s := &script{answers: []string{
		"/nonexistent", "~bob", file, "", "~/Pictures & more", // source
		"nas", "", dir + "/Pictures & more/vault", "me:hunter2@nas:x", "me@nas:photos", // destination
		"Photos", "", // name
		"hunter2", "command", "'", "", "pass show 'my fuseless'", // passphrase
		"~/Pictures & more/mnt", "", // mountpoint
	}}
	if err := Setup(t.Context(), s, file); err != nil || len(s.answers) != 0 {
		t.Fatalf("%v, answers left: %q\n%s", err, s.answers, s.said.String())
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const want = `vaults:
  pictures-more:
    source: "~/Pictures & more"
    destination: me@nas:photos
    passphrase: {command: ["pass", "show", "my fuseless"]}
`
	if _, body, _ := strings.Cut(string(got), "\n"); body != want {
		t.Errorf("written:\n%s", got)
	}
	for _, text := range []string{"no such file", "only ~ and ~/ expand", "must be user@host:path", "is inside the source", "never put a password here",
		"a name has 1 to 32", "answer prompt, keyring or command", "the command is empty", want, "written: " + file} {
		if !strings.Contains(s.said.String(), text) {
			t.Errorf("does not say %q:\n%s", text, s.said.String())
		}
	}
	if strings.Contains(s.said.String()+strings.Join(s.asked, ""), "hunter2") {
		t.Error("an answer that holds a password is repeated")
	}
	st, err := os.Stat(file)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	c, err := parseFrom([]string{"HOME=" + dir, "FUSELESS_CONFIG=" + file}, "/")
	if err != nil {
		t.Fatal(err)
	}
	if v := c.Vaults[0]; v.Source != dir+"/Pictures & more" || v.Mountpoint != dir+"/fuseless/pictures-more" ||
		!slices.Equal(v.Passphrase.Command, []string{"pass", "show", "my fuseless"}) {
		t.Errorf("read back: %+v", v)
	}
}

func TestSetupWithoutSource(t *testing.T) {
	dir := home(t)
	file := filepath.Join(dir, FileName)
	s := &script{answers: []string{"none", "ssh://me@nas:22/./Old%20Photos", "", "keyring", "/mnt/photos"}}
	if err := Setup(t.Context(), s, file); err != nil {
		t.Fatalf("%v\n%s", err, s.said.String())
	}
	c, err := parseFrom([]string{"HOME=" + dir}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if v := c.Vaults[0]; v.HasSource() || v.Name != "old-20photos" || v.Mountpoint != "/mnt/photos" || v.Passphrase.Kind != passphrase.Keyring {
		t.Errorf("got %+v", v)
	}
}

// The default mountpoint lies in the home folder, so a backup of all of it needs another.
func TestSetupOfTheHomeFolder(t *testing.T) {
	dir := home(t)
	s := &script{answers: []string{"~", "nas:home", "", "", "", "/mnt/home"}}
	if err := Setup(t.Context(), s, filepath.Join(dir, FileName)); err != nil {
		t.Fatalf("%v\n%s", err, s.said.String())
	}
	if !strings.Contains(s.said.String(), "is inside the source") {
		t.Errorf("said:\n%s", s.said.String())
	}
	if c, err := parseFrom([]string{"HOME=" + dir}, dir); err != nil || c.Vaults[0].Source != dir || c.Vaults[0].Name != "home" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestSetupAbandonedLeavesNothing(t *testing.T) {
	dir := home(t)
	file := filepath.Join(dir, "conf", FileName)
	if err := Setup(t.Context(), &script{answers: []string{"none", "nas:x"}}, file); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(filepath.Dir(file)); err == nil {
		t.Error("a folder is left")
	}
}

func TestSetupNeverOverwrites(t *testing.T) {
	dir := home(t)
	file := filepath.Join(dir, FileName)
	if err := os.Symlink("/nonexistent/x", file); err != nil { // also not what a link points to
		t.Fatal(err)
	}
	s := &script{}
	err := Setup(t.Context(), s, file)
	if proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "hint: edit it") {
		t.Errorf("got %v", err)
	}
	if len(s.asked) != 0 {
		t.Errorf("asked %q first", s.asked)
	}
}

func TestWriteNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, FileName)
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := Write(file, Draft{Name: "p", Destination: "nas:p"})
	if proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), "already") {
		t.Errorf("got %v", err)
	}
	if got, _ := os.ReadFile(file); string(got) != "mine" {
		t.Errorf("now it holds %q", got)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRenderIsReadBack(t *testing.T) {
	for _, path := range []string{"/a", "/true", "~/x: y", "/x #y", "/é", `/"\`, "/a:", "true", "1", "-", "*x", "/a'b", "/ ", "/{a}", "null"} {
		d := Draft{Name: "true", Source: path, Destination: "nas:vault", Exclude: []string{"*.o", "# \\#", "a, b"}, Port: 2000, Mountpoint: "/m",
			Passphrase: passphrase.Source{Kind: passphrase.Command, Command: []string{"a", "-b c", "'"}}}
		d.Exclude[1] = `\#x`
		c, err := parse(testFile, Render(d), variables{"HOME": "/home/me"}, "linux")
		if err != nil {
			t.Errorf("%q: %v\n%s", path, err, Render(d))
			continue
		}
		want, err := absolute(path, filepath.Dir(testFile), "/home/me")
		v := c.Vaults[0]
		if err != nil || v.Name != "true" || v.Source != want || !slices.Equal(v.Exclude, d.Exclude) || v.Port != 2000 ||
			!slices.Equal(v.Passphrase.Command, d.Passphrase.Command) {
			t.Errorf("%q: %v, %+v\n%s", path, err, v, Render(d))
		}
	}
}

func TestSuggestName(t *testing.T) {
	for path, want := range map[string]string{
		"~/Pictures": "pictures", "/srv/My Photos 2": "my-photos-2", "nas:x": "x", "/": "vault", "/ü": "vault", "/_a-": "a",
		"/" + strings.Repeat("x", 40): strings.Repeat("x", 32),
	} {
		if got := suggestName(path); got != want || !vaultName.MatchString(got) {
			t.Errorf("%s: %s, not %s", path, got, want)
		}
	}
}

func TestTerminalAsker(t *testing.T) {
	if passphrase.IsTerminal() {
		a, err := OpenTerminal()
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
	}
	tty, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	defer slave.Close()
	stdin, stderr := os.Stdin, os.Stderr
	defer func() { os.Stdin, os.Stderr = stdin, stderr }()
	os.Stdin, os.Stderr = slave, slave
	if f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
		f.Close()
		t.Skip("there is a terminal of the test's own, which must not be typed into")
	}
	a, err := OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for typed, want := range map[string]string{"x y\n": "x y", "\n": "suggested"} {
		if _, err := io.WriteString(tty, typed); err != nil {
			t.Fatal(err)
		}
		if got, err := a.Ask(t.Context(), "what?", "suggested"); err != nil || got != want {
			t.Errorf("%q: %q, %v", typed, got, err)
		}
	}
	if _, err := io.WriteString(tty, "\x04"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Ask(t.Context(), "what?", ""); proto.CodeOf(err) != proto.Interrupted {
		t.Errorf("Ctrl-D: %v", err)
	}
}
