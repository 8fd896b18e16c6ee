package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"

	"fuseless/magefiles/passphrase"
)

// Effective prints the effective configuration as YAML that Parse reads, with
// the origin of each value behind it.
func (c *Config) Effective(w io.Writer) error {
	var b bytes.Buffer
	line := func(indent int, field, key, value string) {
		fmt.Fprintf(&b, "%s%s: %s # %s\n", strings.Repeat(" ", indent), key, value, c.Origin(field))
	}
	fmt.Fprintf(&b, "# %s\n", strings.ReplaceAll(c.File, "\n", " "))
	line(0, "guest", "guest", c.Guest)
	if c.SSHConfig != "" {
		line(0, "ssh_config", "ssh_config", quoted(c.SSHConfig))
	} else {
		b.WriteString("# ssh_config: ssh's own # default\n")
	}
	if c.Guest == Lima {
		b.WriteString("vm:\n")
		c.effectiveVM(line)
		if c.VM.Image.Location != "" {
			b.WriteString("  image:\n")
			c.effectiveImage(line)
		} else {
			b.WriteString("  # image: Debian's cloud image # default\n")
		}
	}
	b.WriteString("vaults:\n")
	for _, v := range c.Vaults {
		path := join("vaults", v.Name)
		put := func(key, value string) { line(4, join(path, key), key, value) }
		fmt.Fprintf(&b, "  %s:\n", plain(v.Name))
		switch {
		case v.HasSource():
			put("source", quoted(v.Source))
		case v.Writable:
			b.WriteString("    # source: none, as files are written into this vault itself # default\n")
		default:
			b.WriteString("    # source: none, so this vault can only be mounted and restored # default\n")
		}
		if !v.HasSource() {
			put("writable", fmt.Sprint(v.Writable))
		}
		if v.Writable {
			put("refuse_mac_noise", fmt.Sprint(v.RefuseMacNoise))
		}
		put("destination", quoted(v.Destination.String()))
		put("exclude", flow(v.Exclude))
		put("port", fmt.Sprint(v.Port))
		put("mountpoint", quoted(v.Mountpoint))
		put("passphrase", passphraseYAML(v.Passphrase))
		put("keep_deleted", fmt.Sprint(v.KeepDeleted))
	}
	if c.selected != "" {
		fmt.Fprintf(&b, "# only %s is selected # FUSELESS_VAULT\n", c.selected)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func passphraseYAML(s passphrase.Source) string {
	if s.Kind == passphrase.Command {
		return "{command: " + flow(s.Command) + "}"
	}
	return s.Kind
}

// quoted is s as a YAML double-quoted scalar, which a JSON string is (YAML 1.2,
// 1.2.3), except that JSON leaves DEL and the C1 controls as they are.
func quoted(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string cannot fail
	var out strings.Builder
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		if r >= 0x7f && r < 0xa0 || r == 0xfeff {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

func flow(list []string) string {
	var q []string
	for _, s := range list {
		q = append(q, quoted(s))
	}
	return "[" + strings.Join(q, ", ") + "]"
}

// What every YAML reader takes for text without quotes; other than the words
// that YAML 1.1 readers take for true, false and null.
var (
	plainText = regexp.MustCompile(`^([A-Za-z]|/[A-Za-z0-9]|~/)[A-Za-z0-9_./@:+-]*$`)
	notText   = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n|.*:)$`)
)

// plain is s as a YAML scalar for a block mapping, without quotes where it needs none.
func plain(s string) string {
	if plainText.MatchString(s) && !notText.MatchString(s) {
		return s
	}
	return quoted(s)
}
