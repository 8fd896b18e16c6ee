package config

import (
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

var vaultName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// century bounds keep_deleted, in days: beyond that somebody counts in seconds.
const century = 36500

// validator checks what single values cannot show. Empty values were
// reported before.
type validator struct {
	*Config
	fold bool // case does not tell file names apart
	p    *problems
}

func validate(c *Config, home, goos string, p *problems) {
	v := &validator{c, goos == "darwin", p}
	if fault := guestFault(c.Guest, goos); fault != "" {
		p.add("guest", c.Origin("guest"), "%s", fault)
	}
	v.vm(home)
	if len(c.Vaults) == 0 && !p.has("vaults") && !p.has("") {
		p.add("vaults", Origin{File: c.File}, "there is none; the least is one with source and destination")
	}
	for i := range c.Vaults {
		v.alone(&c.Vaults[i], home)
		v.paths(&c.Vaults[i])
		for j := range i {
			v.pair(&c.Vaults[j], &c.Vaults[i])
		}
	}
}

// add reports a fault of a field of a vault.
func (v *validator) add(of *Vault, field, format string, args ...any) {
	path := join(join("vaults", of.Name), field)
	v.p.add(path, v.Origin(path), format, args...)
}

func (v *validator) alone(a *Vault, home string) {
	if path := join("vaults", a.Name); !vaultName.MatchString(a.Name) {
		v.p.add(path, v.Origin(path), "a name has 1 to 32 of a-z, 0-9, _ and -, and begins with a letter or digit")
	}
	// Below 1024 a forwarded port is open to the network on macOS.
	if a.Port < 1024 || a.Port > 65535 {
		v.add(a, "port", "%d is not from 1024 to 65535", a.Port)
	}
	if a.KeepDeleted < 0 || a.KeepDeleted > century {
		v.add(a, "keep_deleted", "%d is not from 0 (for ever) to %d days", a.KeepDeleted, century)
	}
	if a.Writable && a.HasSource() {
		v.add(a, "writable", "goes without `source:`: a backup would delete again what is written into the vault; give it a vault of its own")
	}
	if a.RefuseMacNoise && !a.Writable {
		v.add(a, "refuse_mac_noise", "goes with `writable: true`: nothing can be written into this vault's view")
	}
	for i, e := range a.Exclude {
		if fault := patternFault(e); fault != "" {
			v.add(a, "exclude", "pattern %d, %q, %s", i+1, e, fault)
		}
	}
	if a.Mountpoint == "/" || a.Mountpoint != "" && v.same(a.Mountpoint, home) {
		v.add(a, "mountpoint", "must be a folder of its own")
		a.Mountpoint = ""
	}
}

// paths checks the mountpoint of a vault against all sources (a view inside one
// would be backed up again, one around it would hide it), and a destination on
// this machine against everything that it could swallow.
func (v *validator) paths(a *Vault) {
	for i := range v.Vaults {
		b := &v.Vaults[i]
		if rel := v.relation(a.Mountpoint, b.Source); rel != "" {
			v.add(a, "mountpoint", "%s %s the source of %s, %s", a.Mountpoint, rel, b.Name, b.Source)
		}
	}
	if !a.Destination.Local {
		return
	}
	for _, dest := range []string{a.Destination.Path, a.Destination.Trash()} {
		if rel := v.relation(dest, a.Source); rel != "" {
			v.add(a, "destination", "%s %s the source, %s", dest, rel, a.Source)
			return
		}
		for _, b := range v.Vaults {
			if rel := v.relation(dest, b.Mountpoint); rel != "" {
				v.add(a, "destination", "%s %s the mountpoint of %s, %s", dest, rel, b.Name, b.Mountpoint)
				return
			}
		}
	}
}

// pair checks the vault b against an earlier one.
func (v *validator) pair(a, b *Vault) {
	if a.Port == b.Port {
		v.add(b, "port", "%d is also the port of %s", b.Port, a.Name)
	}
	if rel := v.relation(b.Mountpoint, a.Mountpoint); rel != "" {
		v.add(b, "mountpoint", "%s %s the mountpoint of %s, %s", b.Mountpoint, rel, a.Name, a.Mountpoint)
	}
	if b.Destination.overlaps(a.Destination) {
		v.add(b, "destination", "overlaps the destination of %s, or its trash: a backup of one would delete the other", a.Name)
	}
	if variableName(a.Name) == variableName(b.Name) {
		path := join("vaults", b.Name)
		v.p.add(path, v.Origin(path), "the name differs from %s only in - and _, which environment variables cannot tell apart", a.Name)
	}
}

// relation says how the folder a lies to the folder b: "is", "is inside", "holds", or ""
// if neither touches the other or one is empty. It compares text: a link is
// noticed only by what mounts or reads.
func (v *validator) relation(a, b string) string {
	switch {
	case a == "" || b == "":
		return ""
	case v.same(a, b):
		return "is"
	case v.within(a, b):
		return "is inside"
	case v.within(b, a):
		return "holds"
	}
	return ""
}

func (v *validator) same(a, b string) bool {
	return a == b || v.fold && strings.EqualFold(a, b)
}

func (v *validator) within(inner, outer string) bool {
	if v.fold {
		inner, outer = strings.ToLower(inner), strings.ToLower(outer)
	}
	return within(inner, outer)
}

// within says whether a clean path lies below another.
func within(inner, outer string) bool {
	return strings.HasPrefix(inner, strings.TrimSuffix(outer, string(filepath.Separator))+string(filepath.Separator))
}

// patternFault says why gocryptfs would take an exclude pattern for another
// one, or "". gocryptfs reads them line by line with sabhiram/go-gitignore,
// which drops comments, outer spaces, and whatever does not compile as a
// regular expression, all in silence.
func patternFault(pattern string) string {
	switch {
	case strings.TrimSpace(pattern) == "":
		return "is empty"
	case strings.ContainsAny(pattern, "\n\r\x00"):
		return "holds a line break or a NUL"
	case !utf8.ValidString(pattern):
		return "is not UTF-8"
	case strings.HasPrefix(pattern, "#"):
		return `would be a comment; write \#`
	case strings.Trim(pattern, " ") != pattern:
		return "begins or ends with a space"
	}
	if _, err := regexp.Compile(strings.NewReplacer("*", ".*", "?", `\?`).Replace(pattern)); err != nil {
		return `would be ignored by gocryptfs; write \ before each of ( ) [ ] { } +`
	}
	return ""
}
