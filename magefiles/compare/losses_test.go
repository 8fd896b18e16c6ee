package compare_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fuseless/magefiles/compare"
)

func TestTablesLoad(t *testing.T) {
	for _, name := range []string{"forward", "webdav", "davfs2", "sshfs", "lima", "lima-restore"} {
		l, err := compare.LoadLosses(name)
		if err != nil || len(l) == 0 {
			t.Errorf("%s: %d rows, %v", name, len(l), err)
		}
	}
	if _, err := compare.LoadLosses("nothing"); err == nil {
		t.Error("a table that is not there: no error")
	}
}

func TestParseLossesIsStrict(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{
		{"- {attribute: mode, why: x, glob: y}", "glob"},
		{"- {attribute: modes, why: x}", `[0].attribute: unknown "modes"`},
		{"- {why: x}", `[0].attribute: unknown ""`},
		{"- {attribute: mode}", "[0].why: missing"},
		{"- {attribute: mode, why: x, kind: [file, fif]}", `[0].kind: unknown "fif"`},
		{"- {attribute: mode, why: x, link: away}", `[0].link: unknown "away"`},
		{"- {attribute: mode, why: x, paths: 'a[b'}", "[0].paths: bad pattern"},
		{"- {attribute: mode, why: x, name: 256}", "[0].name: 256"},
		{"- {attribute: mtime, why: x, before: yesterday}", `"yesterday" is not a date`},
		{"- {attribute: mode, why: x}\n---\n- {attribute: owner, why: x}", "more than one document"},
		{"- {attribute: mode, why: x, name: long}", "losses t"},
		{"- {attribute: mode, why: x, paths: {a: b}}", "losses t"},
		{"- {attribute: mode, why: x, kind: [[file]]}", "losses t"},
		{"attribute: mode", "losses t"},
		// all at once
		{"- {attribute: mode}\n- {attribute: moods, why: x}", "[0].why: missing\nlosses t: [1].attribute"},
	} {
		if _, err := compare.ParseLosses("t", []byte(tt.yaml)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\ngot %v, want %q in it", tt.yaml, err, tt.want)
		}
	}
}

func parse(t *testing.T, yaml string) compare.Losses {
	t.Helper()
	l, err := compare.ParseLosses("t", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A row permits a difference only if all of its selectors match.
func TestSelectors(t *testing.T) {
	diff := compare.Difference{
		Path: "a/" + strings.Repeat("n", 250) + "/link", Attribute: compare.MTime, Want: "w", Got: "g", Reach: compare.Inside,
		Entry: &compare.Entry{Kind: compare.Symlink, MTime: time.Unix(1_000_000_000, 0)}, // 2001-09-09T01:46:40Z
	}
	for _, tt := range []struct {
		selectors string
		permits   bool
	}{
		{"", true},
		{"kind: symlink", true}, {"kind: [file, symlink]", true}, {"kind: [file, dir]", false},
		{"paths: '**'", true}, {"paths: 'a/**'", true}, {"paths: '**/link'", true}, {"paths: 'a/**/l?nk'", true}, {"paths: [b, 'a/*/*']", true},
		{"paths: 'a/**/**/link'", true}, {"paths: link", false}, {"paths: '*'", false}, {"paths: 'a/*'", false}, {"paths: 'b/**'", false},
		{"link: inside", true}, {"link: [outside, dangling]", false},
		{"name: 4", true}, {"name: 5", false}, {"folder: 250", true}, {"folder: 251", false},
		{"before: 2001-09-09T01:46:41Z", true}, {"before: 2001-09-09T01:46:40Z", false},
		{"from: 2001-09-09T01:46:40Z", true}, {"from: 2001-09-09T01:46:41Z", false},
		{"want: w", true}, {"want: x", false}, {"got: g", true}, {"got: gg", false},
		{"kind: symlink, got: x", false},
	} {
		sep := ", "
		if tt.selectors == "" {
			sep = ""
		}
		v := parse(t, "- {attribute: mtime, why: x"+sep+tt.selectors+"}").Judge([]compare.Difference{diff})
		if v.OK() != tt.permits || len(v.Unlisted) == len(v.Unused) != tt.permits && tt.permits {
			t.Errorf("%s: %v, want %v\n%s", tt.selectors, v.OK(), tt.permits, v)
		}
	}
	if parse(t, "- {attribute: mtime-subsecond, why: x}").Judge([]compare.Difference{diff}).OK() {
		t.Error("a row of another attribute permits")
	}
}

// Both ways: a difference without a row fails, and a row without a difference.
func TestJudgeIsStrictBothWays(t *testing.T) {
	diff := func(path string, a compare.Attribute) compare.Difference {
		return compare.Difference{Path: path, Attribute: a, Want: "1", Got: "2", Entry: &compare.Entry{Kind: compare.File}}
	}
	l := parse(t, "- {attribute: mode, why: x}\n- {attribute: owner, paths: o, why: x}")
	v := l.Judge([]compare.Difference{diff("a", compare.Mode), diff("b", compare.Mode), diff("o", compare.Owner)})
	if !v.OK() || v.Counts[0].Count != 2 || v.Counts[1].Count != 1 || !strings.Contains(v.String(), "2  t [mode]") {
		t.Errorf("all listed and all used:\n%s", v)
	}
	v = l.Judge([]compare.Difference{diff("a", compare.Mode), diff("p", compare.Owner), diff("o\n\xff", compare.Content)})
	if v.OK() || len(v.Unlisted) != 2 || len(v.Unused) != 1 {
		t.Errorf("two unlisted, one unused:\n%s", v)
	}
	for _, want := range []string{`owner "p": want 1, got 2`, `"o\n\xff"`, "owner; paths: o"} {
		if !strings.Contains(v.String(), want) {
			t.Errorf("%q is not in:\n%s", want, v)
		}
	}
	if v = l.Judge(nil); v.OK() || len(v.Unused) != 2 {
		t.Errorf("nothing lost:\n%s", v)
	}
	var many []compare.Difference
	for i := range 30 {
		many = append(many, diff(fmt.Sprint(i), compare.Content))
	}
	if s := l.Judge(many).String(); !strings.Contains(s, "30 differences") || !strings.Contains(s, "and 10 more") {
		t.Error(s)
	}
}

// For a source without a FIFO, extended attributes or a second owner those rows
// need not occur. They still permit, and a source that has them must lose them.
func TestForASourceThatHasNotEverything(t *testing.T) {
	entry := func(kind compare.Kind, uid uint32) *compare.Entry {
		return &compare.Entry{Kind: kind, UID: uid, Xattrs: map[string]string{}}
	}
	l := parse(t, `
- {attribute: missing, kind: fifo, why: x}
- {attribute: xattr, why: x}
- {attribute: owner, why: x}
- {attribute: extra, link: inside, why: x}
- {attribute: kind, kind: symlink, link: inside, why: x}
- {attribute: unreadable, name: 5, why: x}`)
	poor := compare.Tree{Entries: map[string]*compare.Entry{".": entry(compare.Dir, 1), "f": entry(compare.File, 1)}}
	if v := l.For(poor).Judge(nil); !v.OK() {
		t.Errorf("a source with nothing to lose:\n%s", v)
	}
	diff := compare.Difference{Path: "f", Attribute: compare.Owner, Entry: poor.Entries["f"]}
	if v := l.For(poor).Judge([]compare.Difference{diff}); !v.OK() {
		t.Errorf("a row that need not occur no longer permits:\n%s", v)
	}
	rich := compare.Tree{Entries: map[string]*compare.Entry{
		".": entry(compare.Dir, 1), "fifo": entry(compare.FIFO, 2), "12345": entry(compare.File, 1),
		"link": {Kind: compare.Symlink, Target: "d", UID: 1}, "d": entry(compare.Dir, 1),
	}}
	rich.Entries["d"].Xattrs["user.x"] = ""
	if v := l.For(rich).Judge(nil); len(v.Unused) != len(l) {
		t.Errorf("a source with everything to lose:\n%s", v)
	}
}
