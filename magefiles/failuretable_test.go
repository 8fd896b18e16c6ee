//go:build linux

package main_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fuseless/guest/proto"
)

var update = flag.Bool("update", false, "write the README's table of failures")

const (
	readmeFile  = "../README.md"
	tableBegins = "<!-- failures: written by go test ./magefiles -run TestFailureTable -update -->\n"
	tableEnds   = "<!-- /failures -->\n"
)

// failureTable is the README's table.
func failureTable() string {
	var b strings.Builder
	group := ""
	for _, f := range failures() {
		if f.group != group {
			group = f.group
			fmt.Fprintf(&b, "\n**%s**\n\n| what is wrong | what fuseless says | code |\n|---|---|---:|\n", group)
		}
		says := strings.TrimSpace(strings.Join(append(slices.Clone(f.says), f.want), "\n"))
		fmt.Fprintf(&b, "| %s | %s | %d |\n", f.what, cell(says), f.code)
	}
	return b.String() + "\n"
}

var repeated = regexp.MustCompile(`(d{8})d{20,}`)

// cell is text in a cell of a Markdown table.
func cell(s string) string {
	s = repeated.ReplaceAllString(s, "${1}...")
	s = strings.ReplaceAll(s, "\n\n", "\n")
	return strings.NewReplacer("|", "\\|", "\n", "<br>", "<", "&lt;", "*", "\\*", "_", "\\_").Replace(s)
}

// TestFailureTable: the README has the table.
func TestFailureTable(t *testing.T) {
	for _, f := range failures() {
		if f.want == "" || (f.hint == "") != (f.code == proto.OK) {
			t.Errorf("%s, %s: no message, or no hint", f.group, f.what)
		}
	}
	b, err := os.ReadFile(readmeFile)
	must(t, err)
	before, rest, ok := strings.Cut(string(b), tableBegins)
	old, after, ok2 := strings.Cut(rest, tableEnds)
	if !ok || !ok2 {
		t.Fatalf("README.md lacks %s or %s", tableBegins, tableEnds)
	}
	switch table := failureTable(); {
	case old == table:
	case *update:
		must(t, os.WriteFile(readmeFile, []byte(before+tableBegins+table+tableEnds+after), 0o644))
	default:
		t.Errorf("the README's table of failures is not that of the tests; run this with -update. It must be\n%s", table)
	}
}
