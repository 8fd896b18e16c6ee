package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"fuseless/guest/proto"
)

// Origin is where a value came from; the zero Origin is a default.
type Origin struct {
	File     string // the configuration file
	Line     int    // in File, from 1; 0: the file as a whole
	Variable string // the environment variable; then File and Line are empty
}

func (o Origin) String() string {
	switch {
	case o.Variable != "":
		return o.Variable
	case o.File == "":
		return "default"
	case o.Line == 0:
		return filepath.Base(o.File)
	}
	return fmt.Sprintf("%s:%d", filepath.Base(o.File), o.Line)
}

// FieldError is one fault of a configuration.
type FieldError struct {
	Path    string // such as vaults.photos.port; empty: the file as a whole
	Origin  Origin
	Message string // never holds a value that may be a password
}

func (e *FieldError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s (%s)", e.Message, e.Origin)
	}
	return fmt.Sprintf("%s: %s (%s)", e.Path, e.Message, e.Origin)
}

// rank orders faults: by line, then defaults, then the environment.
func (e *FieldError) rank() int {
	switch {
	case e.Origin.Variable != "":
		return math.MaxInt
	case e.Origin.File == "":
		return math.MaxInt - 1
	}
	return e.Origin.Line
}

// problems collects the faults: a person wants to see all of them at once.
type problems struct{ list []error }

func (p *problems) add(path string, o Origin, format string, args ...any) {
	p.list = append(p.list, &FieldError{path, o, fmt.Sprintf(format, args...)})
}

// has says whether the field was reported.
func (p *problems) has(path string) bool {
	return slices.ContainsFunc(p.list, func(err error) bool {
		e := err.(*FieldError)
		return e.Path == path || path != "" && strings.HasPrefix(e.Path, path+"[")
	})
}

// err is nil if there are none, else one *proto.Error whose causes are the
// *FieldErrors.
func (p *problems) err(file string) error {
	if len(p.list) == 0 {
		return nil
	}
	// A person goes through the file from top to bottom.
	slices.SortStableFunc(p.list, func(a, b error) int { return cmp.Compare(a.(*FieldError).rank(), b.(*FieldError).rank()) })
	e := &proto.Error{Code: proto.Config, Err: errors.Join(p.list...), Hint: "correct what is named; nothing was started"}
	if len(p.list) == 1 {
		e.Message = fmt.Sprintf("configuration %s: %v", file, p.list[0])
		return e
	}
	var b strings.Builder
	fmt.Fprintf(&b, "configuration %s has %d errors:", file, len(p.list))
	for _, f := range p.list {
		b.WriteString("\n  " + f.Error())
	}
	e.Message = b.String()
	return e
}
