package compare

import (
	"fmt"
	"strings"
)

// shown is how many differences and rows of each sort a Verdict prints.
const shown = 20

// Verdict is what a table of permitted losses says about differences.
type Verdict struct {
	Unlisted []Difference // differences that no row permits
	Unused   []Loss       // rows whose loss did not occur
	Counts   []Count      // all rows, in the order of the table
}

// Count is how many differences a row permitted. A difference counts for each
// row that permits it.
type Count struct {
	Loss  Loss
	Count int
}

// Judge holds differences against the table.
func (l Losses) Judge(diffs []Difference) Verdict {
	var v Verdict
	for _, row := range l {
		v.Counts = append(v.Counts, Count{Loss: row})
	}
	for _, d := range diffs {
		listed := false
		for i, row := range l {
			if row.matches(d) {
				v.Counts[i].Count++
				listed = true
			}
		}
		if !listed {
			v.Unlisted = append(v.Unlisted, d)
		}
	}
	for _, c := range v.Counts {
		if c.Count == 0 && !c.Loss.idle {
			v.Unused = append(v.Unused, c.Loss)
		}
	}
	return v
}

// OK says whether every difference is permitted and every listed loss occurred.
func (v Verdict) OK() bool { return len(v.Unlisted) == 0 && len(v.Unused) == 0 }

// String is a compact account for people: at most 20 differences and 20 unused
// rows, and how often each row was used.
func (v Verdict) String() string {
	var b strings.Builder
	if v.OK() {
		b.WriteString("as it went in, but for the permitted losses\n")
	}
	if n := len(v.Unlisted); n > 0 {
		fmt.Fprintf(&b, "%d differences that are not permitted:\n", n)
		for _, d := range v.Unlisted[:min(n, shown)] {
			fmt.Fprintf(&b, "  %s\n", d)
		}
		more(&b, n)
	}
	if n := len(v.Unused); n > 0 {
		fmt.Fprintf(&b, "%d listed losses that did not occur:\n", n)
		for _, l := range v.Unused[:min(n, shown)] {
			fmt.Fprintf(&b, "  %s\n", l)
		}
		more(&b, n)
	}
	used := false
	for _, c := range v.Counts {
		if c.Count == 0 {
			continue
		}
		if !used {
			b.WriteString("permitted losses that occurred:\n")
			used = true
		}
		fmt.Fprintf(&b, "%7d  %s\n", c.Count, c.Loss)
	}
	return b.String()
}

func more(b *strings.Builder, n int) {
	if n > shown {
		fmt.Fprintf(b, "  and %d more\n", n-shown)
	}
}
