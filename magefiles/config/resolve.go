package config

import (
	"errors"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"fuseless/magefiles/passphrase"
)

// resolver makes the effective configuration of what was written. A value that
// is wrong stays empty, so that it is not reported again by validate.
type resolver struct {
	*Config
	home string
	p    *problems
}

func resolve(raw *rawConfig, file, home, goos string, p *problems) *Config {
	c := &Config{File: file, Guest: defaultGuest(goos), origins: map[string]Origin{}}
	r := &resolver{c, home, p}
	if s := raw.guest; s != nil {
		c.Guest, c.origins["guest"] = s.value, s.origin
	}
	if raw.sshConfig != nil && raw.sshConfig.value == "none" { // ssh(1), -F
		c.SSHConfig, c.origins["ssh_config"] = "none", raw.sshConfig.origin
	} else {
		r.path(&c.SSHConfig, "ssh_config", raw.sshConfig)
	}
	r.vm(&raw.vm)
	for i, v := range raw.vaults {
		c.Vaults = append(c.Vaults, r.vault(i, v))
	}
	return c
}

func (r *resolver) vault(i int, raw *rawVault) Vault {
	v := Vault{
		Name:        raw.name,
		Port:        FirstPort + i,
		KeepDeleted: KeepDeleted,
		Passphrase:  passphrase.Source{Kind: passphrase.Prompt},
	}
	at := func(field string) string { return join(raw.path(), field) }
	r.origins[raw.path()] = raw.origin
	r.path(&v.Source, at("source"), raw.source)
	r.destination(&v.Destination, at("destination"), raw)
	if raw.mountpoint == nil {
		raw.mountpoint = &setting[string]{value: "~/fuseless/" + raw.name}
	}
	r.path(&v.Mountpoint, at("mountpoint"), raw.mountpoint)
	if s := raw.exclude; s != nil {
		v.Exclude, r.origins[at("exclude")] = s.value, s.origin
	}
	if s := raw.port; s != nil {
		v.Port, r.origins[at("port")] = s.value, s.origin
	}
	if s := raw.keepDeleted; s != nil {
		v.KeepDeleted, r.origins[at("keep_deleted")] = s.value, s.origin
	}
	if s := raw.writable; s != nil {
		v.Writable, r.origins[at("writable")] = s.value, s.origin
	}
	if s := raw.refuseMacNoise; s != nil {
		v.RefuseMacNoise, r.origins[at("refuse_mac_noise")] = s.value, s.origin
	}
	if s := raw.passphrase; s != nil {
		v.Passphrase, r.origins[at("passphrase")] = s.value, s.origin
		r.command(v.Passphrase, join(at("passphrase"), "command"), s.origin)
	}
	v.Passphrase.Vault = raw.name
	return v
}

func (r *resolver) path(to *string, field string, s *setting[string]) {
	if s == nil {
		return
	}
	r.origins[field] = s.origin
	abs, err := absolute(s.value, filepath.Dir(r.File), r.home)
	if err != nil {
		r.p.add(field, s.origin, "%v", err)
		return
	}
	*to = abs
}

func (r *resolver) destination(to *Destination, field string, raw *rawVault) {
	s := raw.destination
	if s == nil {
		if !r.p.has(field) && !r.p.has(raw.path()) {
			r.p.add(field, raw.origin, "is missing")
		}
		return
	}
	r.origins[field] = s.origin
	written := s.value
	if written == "~" || strings.HasPrefix(written, "~/") {
		abs, err := absolute(written, "", r.home)
		if err != nil {
			r.p.add(field, s.origin, "%v", err)
			return
		}
		written = abs
	}
	d, err := ParseDestination(written)
	if err != nil {
		r.p.add(field, s.origin, "%v", err)
		return
	}
	d.Raw = s.value
	*to = d
}

// command makes the program's path absolute where it is a path. The other
// arguments are the program's own.
func (r *resolver) command(src passphrase.Source, field string, o Origin) {
	argv := src.Command
	switch {
	case src.Kind != passphrase.Command:
		return
	case len(argv) == 0 || argv[0] == "":
		if !r.p.has(field) {
			r.p.add(field, o, "is empty; the first item is the program")
		}
		return
	case strings.Contains(strings.Join(argv, ""), "\x00"):
		r.p.add(field, o, "holds a NUL")
		return
	case !strings.ContainsRune(argv[0], '/'):
		return
	}
	abs, err := absolute(argv[0], filepath.Dir(r.File), r.home)
	if err != nil {
		r.p.add(field, o, "the program %v", err)
		return
	}
	argv[0] = abs
}

// absolute resolves a path of this machine against the folder base. Only ~ and
// ~/ expand.
func absolute(path, base, home string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("is empty")
	case !printable(path):
		return "", errors.New("holds a control character")
	case path == "~" || strings.HasPrefix(path, "~/"):
		if home == "" {
			return "", errors.New("begins with ~, but HOME is not set")
		}
		path = filepath.Join(home, path[1:])
	case strings.HasPrefix(path, "~"):
		return "", errors.New("only ~ and ~/ expand, not ~name; write the path out")
	case !filepath.IsAbs(path):
		path = filepath.Join(base, path)
	}
	return filepath.Clean(path), nil
}

// printable says whether s can be shown, and written into YAML, as it is.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff'
	})
}
