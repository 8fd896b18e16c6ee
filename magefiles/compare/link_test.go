package compare_test

import (
	"testing"
	"time"

	"fuseless/magefiles/compare"
)

// What a server shows for a symlink inside its root must be what is there.
func TestCompareSeesThroughSymlinks(t *testing.T) {
	file := func(sum string) *compare.Entry {
		return &compare.Entry{Kind: compare.File, Sum: sum, MTime: time.Unix(1, 0)}
	}
	dir := &compare.Entry{Kind: compare.Dir, MTime: time.Unix(1, 0)}
	link := func(target string) *compare.Entry { return &compare.Entry{Kind: compare.Symlink, Target: target} }
	known := map[compare.Attribute]bool{compare.Content: true, compare.MTime: true}
	want := compare.Tree{Known: known, Entries: map[string]*compare.Entry{
		".": dir, "d": dir, "d/f": file("1"), "d/up": link("../g"), "g": file("2"),
		"toFile": link("./d/../d/f"), "toDir": link("d"), "out": link("../x"), "back": link("d/../../x"),
		"abs": link("/d/f"), "gone": link("d/f/"), "loop": link("loop"), "chain": link("toDir/up"), "self": link("."),
	}}
	shows := func() compare.Tree {
		return compare.Tree{Known: known, Entries: map[string]*compare.Entry{
			".": dir, "d": dir, "d/f": file("1"), "d/up": file("2"), "g": file("2"),
			"toFile": file("1"), "toDir": dir, "toDir/f": file("1"), "toDir/up": file("2"), "chain": file("2"), "self": dir,
		}}
	}
	const expected = "missing abs, missing back, kind chain, kind d/up, missing gone, missing loop, missing out, " +
		"kind self, kind toDir, extra toDir/f, extra toDir/up, kind toFile"
	if got := found(compare.Compare(want, shows())); got != expected {
		t.Errorf("found\n%s, want\n%s", got, expected)
	}
	for _, d := range compare.Compare(want, shows()) {
		reach := map[string]compare.Reach{"abs": "outside", "back": "outside", "out": "outside", "gone": "dangling", "loop": "dangling"}[d.Path]
		if reach == "" {
			reach = compare.Inside
		}
		if d.Reach != reach {
			t.Errorf("%s: leads %s, want %s", d.Path, d.Reach, reach)
		}
	}
	for name, tt := range map[string]struct {
		change func(map[string]*compare.Entry)
		want   string
	}{
		"wrong content":              {func(m map[string]*compare.Entry) { m["toFile"] = file("3") }, "content toFile"},
		"wrong kind":                 {func(m map[string]*compare.Entry) { m["chain"] = dir }, "kind chain"},
		"wrong content in a folder":  {func(m map[string]*compare.Entry) { m["toDir/f"] = file("3") }, "content toDir/f"},
		"wrong content behind two":   {func(m map[string]*compare.Entry) { m["toDir/up"] = file("3") }, "content toDir/up"},
		"not all of a linked folder": {func(m map[string]*compare.Entry) { delete(m, "toDir/f") }, "missing toDir/f"},
		"more than what is there":    {func(m map[string]*compare.Entry) { m["toDir/x"] = file("1") }, "extra toDir/x"},
	} {
		got := shows()
		tt.change(got.Entries)
		base := map[string]bool{}
		for _, d := range compare.Compare(want, shows()) {
			base[d.String()] = true
		}
		var fresh []compare.Difference
		for _, d := range compare.Compare(want, got) {
			if !base[d.String()] {
				fresh = append(fresh, d)
				if d.Attribute == compare.Extra && d.Reach == compare.Inside {
					t.Errorf("%s: %s passes as what lies behind a symlink", name, d.Path)
				}
			}
		}
		// A wrong kind shows as a second difference of the kind, of what the link leads to.
		if s := found(fresh); s != tt.want && s != tt.want+", "+tt.want {
			t.Errorf("%s: found %q, want %q", name, s, tt.want)
		}
	}
}
