package rsync

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"fuseless/guest/proto"
)

// Stats are rsync's own (--stats). Sizes are in bytes.
type Stats struct {
	Files       int64 // number of files, of every kind
	Dirs        int64
	Created     int64
	Deleted     int64
	Transferred int64 // regular files transferred
	Size        int64 // total file size
	Literal     int64
	Matched     int64
	Sent        int64
	Received    int64
}

var (
	progressRE = regexp.MustCompile(`^\s*([\d,]+)\s+(\d+)%\s+([\d.]+)([kMGT]?B)/s\s+(\d+):(\d\d):(\d\d)(?: \(xfr#(\d+),.*)?`)
	// %i is eleven characters (YXcstpoguax) and a space; a deletion is "*deleting  ".
	changeRE = regexp.MustCompile(`^([<>ch.][fdLDS][cstTpoguUax.+? ]{9}|\*deleting  ) (.*)$`)
	keptRE   = regexp.MustCompile(` exists(?: \(.*\))?$`)
	statRE   = regexp.MustCompile(`^(Number of files|Number of created files|Number of deleted files|` +
		`Number of regular files transferred|Total file size|Literal data|Matched data|Total bytes sent|` +
		`Total bytes received): ([\d,.]+)(?:.*\(.*?dir: ([\d,.]+))?`)
)

// parser reads standard output: itemised changes, progress and statistics.
type parser struct {
	run   *Run
	stats *Stats
	kept  *int64
	buf   []byte
}

func (p *parser) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	for {
		// Progress ends in a carriage return, everything else in a newline.
		i := bytes.IndexAny(p.buf, "\r\n")
		if i < 0 {
			return len(b), nil
		}
		p.line(string(p.buf[:i]))
		p.buf = p.buf[i+1:]
	}
}

func (p *parser) flush() {
	if len(p.buf) > 0 {
		p.line(string(p.buf))
		p.buf = nil
	}
}

func (p *parser) line(l string) {
	if l == "" {
		return
	}
	if m := changeRE.FindStringSubmatch(l); m != nil {
		if p.run.OnChange != nil {
			what := strings.TrimSpace(m[1])
			path := m[2]
			if strings.HasPrefix(what, "h") {
				path, _, _ = strings.Cut(path, " => ")
			} else if len(what) > 1 && what[1] == 'L' {
				path, _, _ = strings.Cut(path, " -> ")
			}
			p.run.OnChange(what, path)
		}
		return
	}
	if m := progressRE.FindStringSubmatch(l); m != nil {
		if p.run.OnProgress != nil {
			p.run.OnProgress(progress(m))
		}
		return
	}
	if m := statRE.FindStringSubmatch(l); m != nil {
		p.stat(m[1], number(m[2]), number(m[3]))
	} else if p.run.Existing && keptRE.MatchString(l) {
		*p.kept++
	}
}

func (p *parser) stat(name string, n, dirs int64) {
	s := p.stats
	switch name {
	case "Number of files":
		s.Files, s.Dirs = n, dirs
	case "Number of created files":
		s.Created = n
	case "Number of deleted files":
		s.Deleted = n
	case "Number of regular files transferred":
		s.Transferred = n
	case "Total file size":
		s.Size = n
	case "Literal data":
		s.Literal = n
	case "Matched data":
		s.Matched = n
	case "Total bytes sent":
		s.Sent = n
	case "Total bytes received":
		s.Received = n
	}
}

func progress(m []string) proto.Progress {
	unit := map[string]float64{"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}[m[4]]
	rate, _ := strconv.ParseFloat(m[3], 64)
	pr := proto.Progress{
		Bytes: number(m[1]),
		Rate:  int64(rate * unit),
		Left:  int(number(m[5])*3600 + number(m[6])*60 + number(m[7])),
		Files: int(number(m[8])),
	}
	pr.Percent, _ = strconv.Atoi(m[2])
	return pr
}

// number reads digits with or without separators. With --no-human-readable
// there are none, but rsync before 3.1 wrote them anyway.
func number(s string) int64 {
	n, _ := strconv.ParseInt(strings.NewReplacer(",", "", ".", "").Replace(s), 10, 64)
	return n
}
