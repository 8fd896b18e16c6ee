package hostmount

import (
	"maps"
	"testing"
)

func TestParseIndex(t *testing.T) {
	index := func(s string) string {
		return `<?xml version="1.0" encoding="utf-8" ?><d:root xmlns:d="http://dav.sf.net/">` + s + `</d:root>`
	}
	reg := func(name, file, more string) string {
		return `<d:reg><d:name><![CDATA[` + name + `]]></d:name><d:cache_path><![CDATA[/c/` + file + `]]></d:cache_path>` + more + `</d:reg>`
	}
	dir := func(name, s string) string {
		return `<d:ddir><d:path>/x/</d:path><d:name><![CDATA[` + name + `]]></d:name>` + s + `</d:ddir>`
	}
	const created = `<d:remote_exists>0</d:remote_exists><d:dirty>0</d:dirty>`
	for text, want := range map[string]map[string]cached{
		"":                                    nil, // the daemon was killed before it wrote one
		"<d:root":                             nil,
		index(reg("a", "a-Ab12yZ", "")) + "<": nil,
		"<x/>":                                nil,
		index(`<d:backup><d:mode>40700</d:mode></d:backup>`):                      {},
		index(`<d:backup></d:backup>` + reg("<d:backup><d:reg>", "f-000000", "")): {"f-000000": {name: "<d:backup><d:reg>"}},
		index(`<d:backup>` + reg("my essay-Ab12yZ", "my essay-Ab12yZ", "") + `</d:backup>`): {
			"my essay-Ab12yZ": {lost: true, name: "my essay"}},
		index(dir("docs", dir("2026", reg("grüße.txt", "grüße.txt-AAAAAA", created))+reg("b", "b-BBBBBB", ""))): {
			"grüße.txt-AAAAAA": {lost: true, name: "docs/2026/grüße.txt"}, "b-BBBBBB": {name: "docs/b"}},
		index(dir("..", reg("passwd", "passwd-AAAAAA", created))): {"passwd-AAAAAA": {lost: true, name: "passwd-AAAAAA"}},
	} {
		got, err := parseIndex([]byte(text))
		if (err != nil) != (want == nil) || !maps.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
}
