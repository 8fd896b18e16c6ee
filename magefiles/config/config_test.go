package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"fuseless/guest/proto"
	"fuseless/magefiles/passphrase"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	testFile = "/home/me/conf/fuseless.yaml"
	testHome = "HOME=/home/me"
)

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("..", "..", "testdata", "config", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (-update writes it):\n%s", file, got)
	}
}

func testdata(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "config", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func parseLinux(yaml string, env ...string) (*Config, error) {
	return parse(testFile, []byte(yaml), environ(append(env, testHome)), "linux")
}

func mustParse(t *testing.T, yaml string, env ...string) *Config {
	t.Helper()
	c, err := parseLinux(yaml, env...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSmallest(t *testing.T) {
	c := mustParse(t, "vaults:\n  photos:\n    source: ~/Pictures\n    destination: me@nas:backup/photos\n")
	want := Vault{
		Name: "photos", Source: "/home/me/Pictures", Port: 9843, Mountpoint: "/home/me/fuseless/photos", KeepDeleted: 30,
		Destination: Destination{Raw: "me@nas:backup/photos", User: "me", Host: "nas", Path: "backup/photos"},
		Passphrase:  passphrase.Source{Kind: passphrase.Prompt, Vault: "photos"},
	}
	if c.Guest != Local || c.SSHConfig != "" || len(c.Vaults) != 1 || !reflect.DeepEqual(c.Vaults[0], want) {
		t.Errorf("got %+v", c)
	}
	if c = mustParse(t, "vaults: {p: {destination: 'nas:p'}}"); c.Vaults[0].HasSource() {
		t.Error("has a source")
	}
}

func TestEffective(t *testing.T) {
	env := []string{
		"FUSELESS_GUEST=local", "FUSELESS_VAULT=music", "FUSELESS_VAULT_MUSIC_KEEP_DELETED=7",
		"FUSELESS_VAULT_WORK_2_EXCLUDE=*.o,b d", "FUSELESS_REMOTE=x", "FUSELESS_TEST_ANY=x", "FUSELESS_CONFIG=" + testFile,
	}
	c := mustParse(t, string(testdata(t, "effective.yaml")), env...)
	var b strings.Builder
	if err := c.Effective(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "effective.golden", b.String())

	again := mustParse(t, b.String())
	for i := range again.Vaults {
		again.Vaults[i].Destination.Raw = c.Vaults[i].Destination.Raw
	}
	if again.Guest != c.Guest || again.SSHConfig != c.SSHConfig || !reflect.DeepEqual(again.Vaults, c.Vaults) {
		t.Errorf("read again it is\n%+v, not\n%+v", again, c)
	}
}

func TestErrors(t *testing.T) {
	_, err := parseLinux(string(testdata(t, "errors.yaml")),
		"FUSELESS_VAULT=nope", "FUSELESS_GEUST=local", "FUSELESS_VAULT_PHOTOS_PASSPHRASE=hunter2", "FUSELESS_VAULT_X_PORT=1",
		"FUSELESS_VAULT_C_PORT=many", "FUSELESS_VAULT_C_COLOUR=x", "FUSELESS_VAULT_F_MOUNTPOINT=~x", "FUSELESS_PASSWORD=hunter2")
	if proto.CodeOf(err) != proto.Config {
		t.Fatalf("got %v", err)
	}
	golden(t, "errors.golden", err.Error()+"\n")
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the error tells a password")
	}
	var f *FieldError
	if !errors.As(err, &f) {
		t.Error("holds no FieldError")
	}
}

func TestFileErrors(t *testing.T) {
	for yaml, says := range map[string]string{
		"":                           "is empty",
		"# nothing\n":                "is empty",
		"- a\n":                      "must be a mapping",
		"vaults: {}\n":               "vaults: there is none",
		"guest: local\n":             "vaults: there is none",
		"vaults: []\n":               "vaults: must be a mapping",
		"a: b: c\n":                  "is not YAML: mapping value is not allowed in this context (fuseless.yaml:1)",
		"a: 1\n---\nb: 2\n":          "more than one YAML document (fuseless.yaml:3)",
		"vaults: \"\xff\"\n":         "not UTF-8",
		"x: &a 1\nvaults: {b: *a}\n": "vaults.b: what begins with * must be in quotes",
		"<<: {a: b}\n":               `"<<": there is no such field`,
		"? a\n: c\n":                 "plain word",
	} {
		_, err := parseLinux(yaml)
		if proto.CodeOf(err) != proto.Config || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("%q gives %v, not %q", yaml, err, says)
		}
	}
}

func TestPathsThatTouch(t *testing.T) {
	for _, c := range []struct{ goos, vault, says string }{
		{"linux", "{source: /s, destination: /s}", "destination: /s is the source"},
		{"linux", "{source: /s/a, destination: /s}", "destination: /s holds the source"},
		{"linux", "{source: /s.trash/a, destination: /s}", "destination: /s.trash holds the source"},
		{"linux", "{source: /x, destination: /s, mountpoint: /s/m}", "destination: /s holds the mountpoint of p"},
		{"linux", "{source: /x, destination: /m/s, mountpoint: /m}", "destination: /m/s is inside the mountpoint of p"},
		{"linux", "{source: /s, destination: 'nas:p', mountpoint: /s}", "mountpoint: /s is the source of p"},
		{"linux", "{source: /s/a, destination: 'nas:p', mountpoint: /s}", "mountpoint: /s holds the source of p"},
		{"linux", "{source: /, destination: 'nas:p', mountpoint: /m}", "mountpoint: /m is inside the source of p"},
		{"linux", "{source: /s, destination: 'nas:p', mountpoint: '~/.'}", "mountpoint: must be a folder of its own"},
		{"linux", "{source: /s, destination: /sa, mountpoint: /sb}", ""},
		{"linux", "{source: /s, destination: /S, mountpoint: /S.x}", ""},
		{"darwin", "{source: /s, destination: /S}", "destination: /S is the source"},
		{"darwin", "{source: /s/A, destination: 'nas:p', mountpoint: /S/a/mnt}", "mountpoint: /S/a/mnt is inside the source"},
	} {
		_, err := parse(testFile, []byte("vaults: {p: "+c.vault+"}"), variables{"HOME": "/home/me"}, c.goos)
		if c.says == "" && err != nil || c.says != "" && !strings.Contains(fmt.Sprint(err), "vaults.p."+c.says) {
			t.Errorf("%s %s: %v, not %q", c.goos, c.vault, err, c.says)
		}
	}
}

func TestSelect(t *testing.T) {
	const two = "vaults: {zoo: {destination: 'nas:z'}, art: {destination: 'nas:a'}}"
	const one = "vaults: {art: {destination: 'nas:a'}}"
	names := func(vaults []Vault, err error) string {
		if err != nil {
			return fmt.Sprint(proto.CodeOf(err), " ", err)
		}
		return strings.Join((&Config{Vaults: vaults}).Names(), " ")
	}
	matches := func(got, want string) bool { // names are compared whole, errors in part
		return got == want || strings.HasPrefix(got, "config ") && strings.Contains(got, want)
	}
	for _, c := range []struct{ yaml, variable, arg, all, one string }{
		{two, "", "", "zoo art", "which vault? there are 2: zoo, art"},
		{two, "", "art", "art", "art"},
		{two, "zoo", "", "zoo", "zoo"},
		{two, "zoo", "art", "art", "art"},
		{one, "", "", "art", "art"},
		{two, "", "nope", `config no vault is named "nope"`, "hint: the vaults of " + testFile + " are: zoo, art"},
	} {
		config := mustParse(t, c.yaml, "FUSELESS_VAULT="+c.variable)
		if got := names(config.Select(c.arg)); !matches(got, c.all) {
			t.Errorf("Select(%q) with %q: %s", c.arg, c.variable, got)
		}
		v, err := config.One(c.arg)
		if got := names([]Vault{v}, err); !matches(got, c.one) {
			t.Errorf("One(%q) with %q: %s", c.arg, c.variable, got)
		}
	}
}

func TestEnvironment(t *testing.T) {
	c := mustParse(t, "vaults: {a-b: {source: /x, destination: 'nas:a', exclude: [y]}}",
		"FUSELESS_SSH_CONFIG=~/s", "FUSELESS_VAULT_A_B_SOURCE=rel", "FUSELESS_VAULT_A_B_DESTINATION=nas:other",
		"FUSELESS_VAULT_A_B_EXCLUDE=", "FUSELESS_VAULT_A_B_PORT=2000", "FUSELESS_VAULT_A_B_MOUNTPOINT=")
	v := c.Vaults[0]
	if c.SSHConfig != "/home/me/s" || v.Source != "/home/me/conf/rel" || v.Destination.Path != "other" || len(v.Exclude) != 0 ||
		v.Port != 2000 || v.Mountpoint != "/home/me/fuseless/a-b" {
		t.Errorf("got %+v", c)
	}
	for field, want := range map[string]string{
		"vaults.a-b.port": "FUSELESS_VAULT_A_B_PORT", "vaults.a-b.mountpoint": "default", "vaults.a-b": "fuseless.yaml:1",
	} {
		if got := c.Origin(field).String(); got != want {
			t.Errorf("%s comes from %s, not %s", field, got, want)
		}
	}
}

func TestNoHome(t *testing.T) {
	_, err := parse(testFile, []byte("vaults: {a: {source: ~/x, destination: 'nas:a'}}"), variables{}, "linux")
	if err == nil || strings.Count(err.Error(), "HOME is not set") != 2 {
		t.Errorf("got %v", err)
	}
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	write := func(name string) string {
		f := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte("vaults: {p: {destination: 'nas:p'}}"), 0o644); err != nil {
			t.Fatal(err)
		}
		return f
	}
	env := []string{"HOME=" + root + "/home"}
	dir := root + "/work"
	_, err := Find(env, dir)
	if proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), "fuseless setup") || !strings.Contains(err.Error(), dir+"/fuseless.yaml") {
		t.Errorf("without a file: %v", err)
	}
	expect := func(what, want string) {
		t.Helper()
		if got, err := Find(env, dir); err != nil || got != want {
			t.Errorf("%s: %s, %v, not %s", what, got, err, want)
		}
	}
	expect("home", write("home/.config/fuseless/fuseless.yaml"))
	xdg := write("xdg/fuseless/fuseless.yaml")
	env = append(env, "XDG_CONFIG_HOME="+root+"/xdg")
	expect("XDG_CONFIG_HOME", xdg)
	expect("working folder", write("work/fuseless.yaml"))
	named := write("named.yaml")
	env = append(env, "FUSELESS_CONFIG=../named.yaml")
	expect("FUSELESS_CONFIG", named)
	env = append(env, "FUSELESS_CONFIG="+root+"/missing.yaml")
	if _, err := Find(env, dir); proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), "missing.yaml") {
		t.Errorf("a named file that is missing: %v", err)
	}
	if got := (variables{"HOME": "/h"}).userFiles("darwin"); !slices.Equal(got,
		[]string{"/h/.config/fuseless/fuseless.yaml", "/h/Library/Application Support/fuseless/fuseless.yaml"}) {
		t.Errorf("on macOS: %q", got)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, FileName)
	env := []string{"HOME=" + dir}
	put := func(yaml string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file, []byte(yaml), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	put("guest: local\nvaults: {p: {source: s, destination: 'nas:p'}}", 0o644)
	c, err := parseFrom(env, dir)
	if err != nil || c.File != file || c.Vaults[0].Source != dir+"/s" {
		t.Errorf("got %+v, %v", c, err)
	}
	put("vaults: {p: {destination: 'nas:p'}}", 0o666)
	if _, err := parseFrom(env, dir); proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), "can be written by everybody") {
		t.Errorf("a file that everybody can write: %v", err)
	}
	put(strings.Repeat("#", sizeLimit+1), 0o600)
	if _, err := parseFrom(env, dir); proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a large file: %v", err)
	}
	if _, err := parseFrom(append(env, "FUSELESS_CONFIG=."), dir); proto.CodeOf(err) != proto.Config || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a folder: %v", err)
	}
}

// parseFrom is Load, but for Linux on every machine.
func parseFrom(env []string, dir string) (*Config, error) {
	file, err := Find(env, dir)
	if err != nil {
		return nil, err
	}
	data, err := read(file)
	if err != nil {
		return nil, err
	}
	return parse(file, data, environ(env), "linux")
}

func TestForeignFile(t *testing.T) {
	f, err := os.Stat(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs a file of root")
	}
	if got := foreign(f, 1000); got != "" {
		t.Errorf("a file of root: %s", got)
	}
	other := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(other, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if f, err = os.Stat(other); err != nil {
		t.Fatal(err)
	}
	if got := foreign(f, 1000); got != "belongs to another user (uid 12345)" {
		t.Errorf("a file of another user: %q", got)
	}
	if got := foreign(f, 12345); got != "" {
		t.Errorf("one's own file: %q", got)
	}
}

// FuzzParse: whatever the file holds, Parse does not panic, and what it takes
// is read back from Effective.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"effective.yaml", "errors.yaml"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "config", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("vaults: {p: {source: /a, destination: 'h:p', exclude: [\"\x7f\", \"\\t\"]}}")
	f.Fuzz(func(t *testing.T, yaml string) {
		c, err := parseLinux(yaml)
		if err != nil {
			return
		}
		var b strings.Builder
		if err := c.Effective(&b); err != nil {
			t.Fatal(err)
		}
		again, err := parseLinux(b.String())
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		for i := range again.Vaults {
			again.Vaults[i].Destination.Raw = c.Vaults[i].Destination.Raw
			if len(c.Vaults[i].Exclude) == 0 {
				c.Vaults[i].Exclude = nil
			}
		}
		if !reflect.DeepEqual(again.Vaults, c.Vaults) {
			t.Errorf("read again it is\n%+v, not\n%+v", again.Vaults, c.Vaults)
		}
	})
}

func TestWritable(t *testing.T) {
	const notes = "vaults: {notes: {destination: 'nas:n', writable: true"
	c := mustParse(t, notes+", refuse_mac_noise: true}}")
	if v := c.Vaults[0]; !v.Writable || !v.RefuseMacNoise {
		t.Errorf("got %+v", v)
	}
	if v := mustParse(t, notes+"}}", "FUSELESS_VAULT_NOTES_WRITABLE=false").Vaults[0]; v.Writable || v.RefuseMacNoise {
		t.Errorf("overridden: got %+v", v)
	}
	for text, want := range map[string]string{
		notes + ", source: /s}}": "vaults.notes.writable: goes without `source:`",
		"vaults: {notes: {destination: 'nas:n', refuse_mac_noise: true}}":    "vaults.notes.refuse_mac_noise: goes with `writable: true`",
		"vaults: {notes: {destination: 'nas:n', writable: yes}}":             "vaults.notes.writable: must be true or false",
		"vaults: {notes: {destination: 'nas:n', writable: 'true'}}":          "vaults.notes.writable: must be true or false",
		"vaults: {notes: {destination: 'nas:n', source: /s, writable: 1}}\n": "vaults.notes.writable: must be true or false",
	} {
		if _, err := parseLinux(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if _, err := parseLinux(notes+"}}", "FUSELESS_VAULT_NOTES_WRITABLE=1"); err == nil || !strings.Contains(err.Error(), "must be true or false") {
		t.Errorf("got %v", err)
	}
}
