package compare

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

//go:embed losses/*.yaml
var tables embed.FS

// Loss is a row of a table of permitted losses: an attribute, and selectors
// that must all match. A selector that is not set matches everything.
type Loss struct {
	Attribute Attribute `yaml:"attribute"`
	Kind      words     `yaml:"kind"`   // kind of the entry as wanted (for extra: as it is)
	Paths     words     `yaml:"paths"`  // patterns: ** is any number of names, the rest as in path.Match
	Link      words     `yaml:"link"`   // Difference.Reach
	Name      int       `yaml:"name"`   // the entry's name has at least so many bytes
	Folder    int       `yaml:"folder"` // the name of some folder above it has at least so many bytes
	Before    date      `yaml:"before"` // the mtime as wanted is earlier
	From      date      `yaml:"from"`   // the mtime as wanted is this or later
	Want      string    `yaml:"want"`   // exactly Difference.Want
	Got       string    `yaml:"got"`    // exactly Difference.Got
	Why       string    `yaml:"why"`    // the reason and its source; required

	table string
	idle  bool // see Losses.For
}

// Losses is a table of permitted losses.
type Losses []Loss

// LoadLosses loads the checked-in tables losses/<name>.yaml, one after the other.
func LoadLosses(names ...string) (Losses, error) {
	var all Losses
	for _, name := range names {
		data, err := tables.ReadFile("losses/" + name + ".yaml")
		if err != nil {
			return nil, fmt.Errorf("no table of permitted losses %q", name)
		}
		l, err := ParseLosses(name, data)
		if err != nil {
			return nil, err
		}
		all = append(all, l...)
	}
	return all, nil
}

// ParseLosses reads a table; name is for messages. Unknown keys, attributes,
// kinds and links, bad patterns and rows without a reason are errors, all of
// them at once.
func ParseLosses(name string, data []byte) (Losses, error) {
	var l Losses
	dec := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict())
	if err := dec.Decode(&l); err != nil && err != io.EOF {
		return nil, fmt.Errorf("losses %s: %w", name, err)
	}
	if err := dec.Decode(new(Losses)); err != io.EOF {
		return nil, fmt.Errorf("losses %s: more than one document", name)
	}
	var errs []error
	for i := range l {
		l[i].table = name
		for _, problem := range l[i].problems() {
			errs = append(errs, fmt.Errorf("losses %s: [%d].%s", name, i, problem))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return l, nil
}

func (l Loss) problems() (list []string) {
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if !slices.Contains(attributes, l.Attribute) {
		add("attribute: unknown %q", l.Attribute)
	}
	for _, k := range l.Kind {
		if !slices.Contains(kinds, Kind(k)) {
			add("kind: unknown %q", k)
		}
	}
	for _, r := range l.Link {
		if !slices.Contains(reaches, Reach(r)) {
			add("link: unknown %q", r)
		}
	}
	for _, p := range l.Paths {
		if _, err := path.Match(p, ""); err != nil || p == "" || strings.HasPrefix(p, "/") {
			add("paths: bad pattern %q", p)
		}
	}
	for key, n := range map[string]int{"name": l.Name, "folder": l.Folder} {
		if n < 0 || n > 255 {
			add("%s: %d is not a length from 1 to 255", key, n)
		}
	}
	if strings.TrimSpace(l.Why) == "" {
		add("why: missing")
	}
	return list
}

// matches says whether l permits d.
func (l Loss) matches(d Difference) bool {
	return l.Attribute == d.Attribute &&
		(l.Want == "" || l.Want == d.Want) &&
		(l.Got == "" || l.Got == d.Got) &&
		l.selects(d.Path, d.Entry, d.Reach)
}

// selects says whether e at path p is one of the entries that l speaks of.
func (l Loss) selects(p string, e *Entry, reach Reach) bool {
	names := strings.Split(p, "/")
	last := len(names) - 1
	return (len(l.Kind) == 0 || slices.Contains(l.Kind, string(e.Kind))) &&
		(len(l.Link) == 0 || slices.Contains(l.Link, string(reach))) &&
		(l.Before.IsZero() || e.MTime.Before(l.Before.Time)) &&
		(l.From.IsZero() || !e.MTime.Before(l.From.Time)) &&
		len(names[last]) >= l.Name &&
		(l.Folder == 0 || slices.ContainsFunc(names[:last], func(n string) bool { return len(n) >= l.Folder })) &&
		(len(l.Paths) == 0 || slices.ContainsFunc(l.Paths, func(pattern string) bool {
			return glob(strings.Split(pattern, "/"), names)
		}))
}

// glob matches names against patterns, name by name; ** stands for any number
// of names, also none.
func glob(patterns, names []string) bool {
	for len(patterns) > 0 {
		if patterns[0] == "**" {
			for i := 0; i <= len(names); i++ {
				if glob(patterns[1:], names[i:]) {
					return true
				}
			}
			return false
		}
		if len(names) == 0 {
			return false
		}
		if ok, err := path.Match(patterns[0], names[0]); err != nil || !ok {
			return false
		}
		patterns, names = patterns[1:], names[1:]
	}
	return len(names) == 0
}

// String is l as a table shows it, without the reason.
func (l Loss) String() string {
	s := []string{string(l.Attribute)}
	list := func(key string, w words) {
		if len(w) > 0 {
			s = append(s, key+": "+strings.Join(w, ", "))
		}
	}
	list("kind", l.Kind)
	list("paths", l.Paths)
	list("link", l.Link)
	if l.Name > 0 {
		s = append(s, fmt.Sprintf("name: %d", l.Name))
	}
	if l.Folder > 0 {
		s = append(s, fmt.Sprintf("folder: %d", l.Folder))
	}
	when := func(key string, t date) {
		if !t.IsZero() {
			s = append(s, key+": "+t.Format(time.RFC3339))
		}
	}
	when("before", l.Before)
	when("from", l.From)
	if l.Want != "" {
		s = append(s, "want: "+l.Want)
	}
	if l.Got != "" {
		s = append(s, "got: "+l.Got)
	}
	return l.table + " [" + strings.Join(s, "; ") + "]"
}

// words is one word or a list of them.
type words []string

// UnmarshalYAML takes a scalar or a sequence.
func (w *words) UnmarshalYAML(unmarshal func(any) error) error {
	var many []string
	if unmarshal(&many) == nil {
		*w = many
		return nil
	}
	var one string
	if err := unmarshal(&one); err != nil {
		return err
	}
	*w = words{one}
	return nil
}

// date is a time of RFC 3339. (The YAML library takes what is no time for the
// zero time, which would permit everything.)
type date struct{ time.Time }

// UnmarshalYAML takes a scalar.
func (d *date) UnmarshalYAML(unmarshal func(any) error) error {
	var s string
	if err := unmarshal(&s); err != nil {
		return err
	}
	var err error
	if d.Time, err = time.Parse(time.RFC3339, s); err != nil {
		return fmt.Errorf("%q is not a date of RFC 3339, such as 1970-01-01T00:00:00Z", s)
	}
	return nil
}
