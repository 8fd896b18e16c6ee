package config

import (
	"bytes"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"fuseless/magefiles/passphrase"
)

// setting is a value as it was written, with its place; nil where there is none.
type setting[T any] struct {
	value  T
	origin Origin
}

// rawConfig is the file as it was written. The environment overrides it before
// paths are resolved and defaults are filled in.
type rawConfig struct {
	guest, sshConfig *setting[string]
	vm               rawVM
	vaults           []*rawVault
}

type rawVault struct {
	name   string
	origin Origin

	source, destination, mountpoint *setting[string]
	exclude                         *setting[[]string]
	port, keepDeleted               *setting[int]
	writable, refuseMacNoise        *setting[bool]
	passphrase                      *setting[passphrase.Source]
}

func (v *rawVault) path() string { return join("vaults", v.name) }

// decoder walks the syntax tree. The library's own decoder stops at the first
// fault and forgets the lines, so only its parser is used.
type decoder struct {
	file string
	p    *problems
	key  Origin // of the field whose value is being read: where a person looks for a list
}

// decode gives nil for what is not a YAML mapping at all.
func decode(file string, data []byte, p *problems) *rawConfig {
	d := &decoder{file: file, p: p}
	whole := Origin{File: file}
	if !utf8.Valid(data) {
		p.add("", whole, "is not UTF-8")
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	tree, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil
	}
	var body ast.Node
	for _, doc := range tree.Docs {
		if _, directive := doc.Body.(*ast.DirectiveNode); directive || doc.Body == nil {
			continue
		}
		if body != nil {
			p.add("", d.at(doc.Body), "holds more than one YAML document")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		p.add("", whole, "is empty; the least is one vault with source and destination")
		return nil
	}
	return d.root(body)
}

// syntax reports a fault without the lines around it, which the library adds.
func (d *decoder) syntax(err error) {
	o, message := Origin{File: d.file}, err.Error()
	var y yaml.Error
	if errors.As(err, &y) {
		message = y.GetMessage()
		if tk := y.GetToken(); tk != nil && tk.Position != nil {
			o.Line = tk.Position.Line
		}
	}
	d.p.add("", o, "is not YAML: %s", message)
}

func (d *decoder) at(n ast.Node) Origin {
	o := Origin{File: d.file}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		o.Line = tk.Position.Line
	}
	return o
}

func (d *decoder) root(n ast.Node) *rawConfig {
	r := &rawConfig{}
	d.mapping("", n, map[string]func(string, ast.Node){
		"guest":      func(path string, n ast.Node) { r.guest = d.text(path, n) },
		"ssh_config": func(path string, n ast.Node) { r.sshConfig = d.text(path, n) },
		"vm":         func(path string, n ast.Node) { d.vm(path, n, &r.vm) },
		"vaults":     func(path string, n ast.Node) { r.vaults = d.vaults(path, n) },
	})
	return r
}

func (d *decoder) vaults(path string, n ast.Node) []*rawVault {
	var vaults []*rawVault
	d.each(path, n, func(name string, key, value ast.Node) {
		v := &rawVault{name: name, origin: d.at(key)}
		vaults = append(vaults, v)
		d.mapping(v.path(), value, map[string]func(string, ast.Node){
			"source":           func(path string, n ast.Node) { v.source = d.text(path, n) },
			"destination":      func(path string, n ast.Node) { v.destination = d.text(path, n) },
			"mountpoint":       func(path string, n ast.Node) { v.mountpoint = d.text(path, n) },
			"exclude":          func(path string, n ast.Node) { v.exclude = d.list(path, n) },
			"port":             func(path string, n ast.Node) { v.port = d.number(path, n) },
			"keep_deleted":     func(path string, n ast.Node) { v.keepDeleted = d.number(path, n) },
			"writable":         func(path string, n ast.Node) { v.writable = d.flag(path, n) },
			"refuse_mac_noise": func(path string, n ast.Node) { v.refuseMacNoise = d.flag(path, n) },
			"passphrase":       func(path string, n ast.Node) { v.passphrase = d.passphrase(path, n) },
		})
	})
	return vaults
}

// mapping hands each value to the function of its key; other keys are faults.
func (d *decoder) mapping(path string, n ast.Node, fields map[string]func(string, ast.Node)) {
	d.each(path, n, func(name string, key, value ast.Node) {
		if f := fields[name]; f != nil {
			d.key = d.at(key)
			f(join(path, name), value)
			return
		}
		known := slices.Sorted(maps.Keys(fields))
		d.p.add(join(path, name), d.at(key), "there is no such field; known are: %s", strings.Join(known, ", "))
	})
}

// each goes through a mapping; a key that is there twice is a fault.
func (d *decoder) each(path string, n ast.Node, f func(name string, key, value ast.Node)) {
	var pairs []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		d.wrong(path, n, "a mapping (indented lines of `name: value`)")
		return
	}
	first := map[string]Origin{}
	for _, pair := range pairs {
		var key ast.Node = pair.Key
		if _, complex := key.(*ast.MappingKeyNode); complex || key.GetToken() == nil {
			d.p.add(path, d.at(pair), "a key must be a plain word")
			continue
		}
		name := key.GetToken().Value
		if before, twice := first[name]; twice {
			d.p.add(join(path, name), d.at(key), "is there twice, first in line %d", before.Line)
			continue
		}
		first[name] = d.at(key)
		f(name, key, pair.Value)
	}
}

func (d *decoder) text(path string, n ast.Node) *setting[string] {
	switch s := n.(type) {
	case *ast.StringNode:
		return &setting[string]{s.Value, d.at(n)}
	case *ast.LiteralNode:
		return &setting[string]{s.Value.Value, d.at(n)}
	}
	d.wrong(path, n, "text")
	return nil
}

func (d *decoder) list(path string, n ast.Node) *setting[[]string] {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrong(path, n, `a list, such as ["a", "b"]`)
		return nil
	}
	s := &setting[[]string]{nil, d.key}
	for i, item := range seq.Values {
		if t := d.text(path+"["+strconv.Itoa(i)+"]", item); t != nil {
			s.value = append(s.value, t.value)
		}
	}
	return s
}

// decimal keeps out 0x10, 010 (YAML's octal) and 1_000.
var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,9})$`)

func (d *decoder) number(path string, n ast.Node) *setting[int] {
	_, ok := n.(*ast.IntegerNode)
	if !ok || !decimal.MatchString(n.GetToken().Value) {
		d.wrong(path, n, "a whole number")
		return nil
	}
	i, _ := strconv.Atoi(n.GetToken().Value)
	return &setting[int]{i, d.at(n)}
}

func (d *decoder) flag(path string, n ast.Node) *setting[bool] {
	b, ok := n.(*ast.BoolNode)
	if !ok {
		d.wrong(path, n, "true or false")
		return nil
	}
	return &setting[bool]{b.Value, d.at(n)}
}

func (d *decoder) passphrase(path string, n ast.Node) *setting[passphrase.Source] {
	s := &setting[passphrase.Source]{origin: d.key}
	switch m := n.(type) {
	case *ast.StringNode:
		// The value is not repeated in the message: somebody may have written
		// the passphrase itself.
		if m.Value != passphrase.Prompt && m.Value != passphrase.Keyring {
			d.p.add(path, d.at(n), "must be prompt, keyring, or {command: [...]}; the passphrase itself never belongs here")
			return nil
		}
		s.value.Kind = m.Value
		return s
	case *ast.MappingNode, *ast.MappingValueNode:
		found, before := false, len(d.p.list)
		d.mapping(path, n, map[string]func(string, ast.Node){"command": func(path string, n ast.Node) {
			found = true
			if argv := d.list(path, n); argv != nil {
				s.value = passphrase.Source{Kind: passphrase.Command, Command: argv.value}
			}
		}})
		if !found && len(d.p.list) == before {
			d.p.add(path, d.at(n), "must be prompt, keyring, or {command: [...]}")
		}
		if s.value.Kind == "" {
			return nil
		}
		return s
	}
	d.p.add(path, d.at(n), "must be prompt, keyring, or {command: [...]}; the passphrase itself never belongs here")
	return nil
}

// wrong reports a node of the wrong type, with YAML's traps explained.
func (d *decoder) wrong(path string, n ast.Node, want string) {
	switch t := n.(type) {
	case *ast.AliasNode:
		d.p.add(path, d.at(n), "what begins with * must be in quotes")
	case *ast.AnchorNode:
		d.p.add(path, d.at(n), "what begins with & must be in quotes")
	case *ast.TagNode:
		d.p.add(path, d.at(n), "what begins with ! must be in quotes")
	case *ast.NullNode:
		if t.GetToken().Value == "~" {
			d.p.add(path, d.at(n), `is empty: in YAML a lone ~ means nothing; write "~" in quotes`)
			return
		}
		d.p.add(path, d.at(n), "is empty; must be %s", want)
	case *ast.StringNode, *ast.LiteralNode, *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		d.p.add(path, d.at(n), "must be %s", want)
	default: // a number, a date, true
		quotes := ""
		if want == "text" {
			quotes = "; put it in quotes"
		}
		d.p.add(path, d.at(n), "must be %s%s", want, quotes)
	}
}

var word = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// join makes a field path. A key can be any text, also with line breaks.
func join(path, name string) string {
	if !word.MatchString(name) {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
