package readme_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"

	"fuseless/guest/proto"
	"fuseless/magefiles/config"
)

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// marked is the fenced block that follows the comment <!-- name -->.
func marked(t *testing.T, name string) string {
	t.Helper()
	_, after, ok := strings.Cut(readme(t), "<!-- "+name+" -->\n```")
	if !ok {
		t.Fatalf("README.md has no fenced block right after <!-- %s -->", name)
	}
	_, after, _ = strings.Cut(after, "\n") // the language
	block, _, ok := strings.Cut(after, "\n```\n")
	if !ok {
		t.Fatalf("the block after <!-- %s --> has no end", name)
	}
	return block + "\n"
}

// section is the text below the heading "## title".
func section(t *testing.T, title string) string {
	t.Helper()
	_, after, ok := strings.Cut(readme(t), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("README.md has no section %q", title)
	}
	text, _, _ := strings.Cut(after, "\n## ")
	return text
}

func TestExitCodes(t *testing.T) {
	var want strings.Builder
	want.WriteString("| code | name | meaning |\n|---:|---|---|\n")
	for _, c := range proto.Codes {
		fmt.Fprintf(&want, "| %d | %s | %s |\n", c.Code, c.Name, c.Meaning)
	}
	if !strings.Contains(section(t, "Exit codes"), "\n"+want.String()+"\n") {
		t.Errorf("the table of exit codes is not that of guest/proto; it must be\n%s", want.String())
	}
}

// targets are the targets of the magefile, each with its flags.
func targets(t *testing.T) map[string][]string {
	t.Helper()
	flags, _ := declared(t)
	return flags
}

// declared are the targets of the magefile: each with its flags, and with the
// number of words that it takes besides.
func declared(t *testing.T) (found map[string][]string, words map[string]int) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "magefile.go"), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found, words = map[string][]string{}, map[string]int{}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !fn.Name.IsExported() {
			continue
		}
		// As mage does: only the first letter becomes small.
		name := string(unicode.ToLower(rune(fn.Name.Name[0]))) + fn.Name.Name[1:]
		found[name] = []string{}
		for _, p := range fn.Type.Params.List {
			if _, optional := p.Type.(*ast.StarExpr); !optional {
				if word, ok := p.Type.(*ast.Ident); ok && word.Name == "string" {
					words[name] += len(p.Names)
				}
				continue
			}
			for _, n := range p.Names {
				found[name] = append(found[name], n.Name)
			}
		}
	}
	if len(found) == 0 {
		t.Fatal("the magefile has no targets")
	}
	return found, words
}

func TestTargets(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `([A-Za-z0-9]+)` \\| (.*) \\|$")
	flag := regexp.MustCompile("`-([A-Za-z]+)(=[A-Z]+)?`")
	documented := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(section(t, "Targets"), -1) {
		documented[m[1]] = []string{}
		for _, f := range flag.FindAllStringSubmatch(m[2], -1) {
			documented[m[1]] = append(documented[m[1]], f[1])
		}
	}
	real := targets(t)
	for name, flags := range real {
		got, ok := documented[name]
		if !ok {
			t.Errorf("README.md does not document the target %s", name)
			continue
		}
		slices.Sort(flags)
		slices.Sort(got)
		if !slices.Equal(flags, got) {
			t.Errorf("README.md gives the target %s the flags %v; it has %v", name, got, flags)
		}
	}
	for name := range documented {
		if _, ok := real[name]; !ok {
			t.Errorf("README.md documents the target %s, which does not exist", name)
		}
	}
}

// TestCommands looks at every command line of ours in the README: in a fenced
// block, or in a code span.
func TestCommands(t *testing.T) {
	code := regexp.MustCompile("(?s)\n```[a-z]*\n.*?\n```\n|`[^`\n]+`")
	command := regexp.MustCompile(`(?m)(?:^|/|` + "`" + `|\* )(?:fuseless|go tool mage)((?: +-?[A-Za-z]+[^\s` + "`" + `]*)+)`)
	known, words := declared(t)
	seen := 0
	for _, c := range code.FindAllString(readme(t), -1) {
		for _, m := range command.FindAllStringSubmatch(c, -1) {
			var flags []string
			skip := 0
			for _, w := range strings.Fields(m[1]) {
				if skip > 0 {
					skip--
					continue
				}
				if w == "X" { // any target
					continue
				}
				if w == "-l" || w == "-h" || w == "-v" { // mage's own
					continue
				}
				if f, ok := strings.CutPrefix(w, "-"); ok {
					name, _, _ := strings.Cut(f, "=")
					if !slices.Contains(flags, name) {
						t.Errorf("README.md says `%s`: there is no flag -%s there", strings.TrimSpace(m[0]), name)
					}
					continue
				}
				var ok bool
				if flags, ok = known[w]; !ok {
					t.Errorf("README.md says `%s`: there is no target %s", strings.TrimSpace(m[0]), w)
				}
				skip = words[w]
				seen++
			}
		}
	}
	if seen < len(known) {
		t.Errorf("only %d commands were found: does the pattern still fit?", seen)
	}
}

func TestConfigurationExamples(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a configuration is valid only on Linux in this version")
	}
	for _, name := range []string{"smallest-configuration", "configuration", "writable-configuration", "new-machine"} {
		text := marked(t, name)
		c, err := config.Parse("/home/me/.config/fuseless/fuseless.yaml", []byte(text), []string{"HOME=/home/me"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(c.Vaults) == 0 {
			t.Errorf("%s: no vaults", name)
		}
	}
}

// TestConfigurationKeys takes the keys from config's own words about an unknown
// one: nothing else lists them.
func TestConfigurationKeys(t *testing.T) {
	text := section(t, "Configuration")
	example := marked(t, "configuration")
	known := regexp.MustCompile(`known are: ([a-z_]+(?:, [a-z_]+)*)`)
	keys := map[string]bool{}
	_, err := config.Parse("/x.yaml", []byte("x: 1\nvaults:\n  a:\n    x: 1\n"), nil)
	for _, m := range known.FindAllStringSubmatch(fmt.Sprint(err), -1) {
		for k := range strings.SplitSeq(m[1], ", ") {
			keys[k] = true
		}
	}
	if len(keys) < 8 {
		t.Fatalf("the keys are not in the error any more: %v", err)
	}
	delete(keys, "vaults")
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if !strings.Contains(text, "\n| `"+k+"` |") {
			t.Errorf("the table of keys lacks %s", k)
		}
		if !regexp.MustCompile(`(?m)^ *` + k + `:`).MatchString(example) {
			t.Errorf("the example lacks %s", k)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(text, -1) {
		if !keys[m[1]] {
			t.Errorf("the table of keys has %s, which does not exist", m[1])
		}
	}
}

// TestLinks checks the links to headings and to files of ours.
func TestLinks(t *testing.T) {
	anchors := map[string]bool{}
	drop := regexp.MustCompile(`[^a-z0-9 _-]`)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(readme(t), -1) {
		anchors["#"+strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(readme(t), -1) {
		link := m[1]
		switch {
		case strings.HasPrefix(link, "https://"):
		case strings.HasPrefix(link, "#"):
			if !anchors[link] {
				t.Errorf("there is no heading for the link %s", link)
			}
		default:
			if _, err := os.Stat(filepath.Join("..", "..", link)); err != nil {
				t.Errorf("the link %s leads nowhere: %v", link, err)
			}
		}
	}
}
