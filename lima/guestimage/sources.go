package guestimage

import (
	"bufio"
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// keyring signs Debian's packages, on the host and in the guest.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// hostGateway is the host as a guest sees it: its loopback, in QEMU's user
// network and in Lima's (lima networks.SlirpGateway).
const hostGateway = "192.168.5.2"

// sources are where the guest's packages come from, as on the host.
type sources struct {
	Main     string   // URI of a Debian mirror
	Security string   // URI of its security updates
	Options  []option // the host's apt options that matter for fetching
	CAs      []ca     // the host's own certificate authorities
}

type option struct{ Name, Value string }

type ca struct {
	Name string
	Data []byte
}

// hostSources is how this machine reaches Debian's packages. Where its own
// sources are of another system, Debian's usual mirrors are taken.
func hostSources() sources {
	var text []byte
	files := []string{"/etc/apt/sources.list"}
	for _, pattern := range []string{"*.list", "*.sources"} {
		found, _ := filepath.Glob(filepath.Join("/etc/apt/sources.list.d", pattern))
		files = append(files, found...)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		text = append(append(text, b...), '\n')
	}
	src := parseMirrors(text)
	// Absent apt-config means defaults.
	conf, _ := exec.Command("apt-config", "dump").Output()
	src.Options = parseOptions(conf)
	cas, _ := filepath.Glob("/usr/local/share/ca-certificates/*.crt")
	for _, f := range cas {
		if b, err := os.ReadFile(f); err == nil {
			src.CAs = append(src.CAs, ca{filepath.Base(f), b})
		}
	}
	return src
}

// parseMirrors finds Debian's mirrors in apt's sources, of both formats
// (sources.list(5)).
func parseMirrors(text []byte) sources {
	src := sources{Main: "http://deb.debian.org/debian", Security: "http://deb.debian.org/debian-security"}
	var main, security string
	sc := bufio.NewScanner(bytes.NewReader(text))
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if !strings.HasPrefix(line, "deb ") && !strings.HasPrefix(line, "URIs:") {
			continue
		}
		for word := range strings.FieldsSeq(line) {
			u, err := url.Parse(word)
			if err != nil || u.Host == "" {
				continue
			}
			switch uri := strings.TrimSuffix(word, "/"); {
			case strings.HasSuffix(uri, "/debian") && main == "":
				main = uri
			case strings.HasSuffix(uri, "/debian-security") && security == "":
				security = uri
			}
		}
	}
	if main != "" {
		src.Main = main
	}
	if security != "" {
		src.Security = security
	}
	return src
}

// parseOptions keeps, of what `apt-config dump` prints, the options without
// which fetching may fail.
func parseOptions(dump []byte) []option {
	var opts []option
	for line := range strings.Lines(string(dump)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		value, quoted := strings.CutPrefix(strings.TrimSuffix(value, ";"), `"`)
		value, ended := strings.CutSuffix(value, `"`)
		if !ok || !quoted || !ended || value == "" {
			continue
		}
		l := strings.ToLower(name)
		if l == "acquire::check-valid-until" || l == "acquire::check-date" || l == "acquire::forceipv4" ||
			strings.HasPrefix(l, "acquire::http::") && strings.HasSuffix(l, "proxy") ||
			strings.HasPrefix(l, "acquire::https::") && strings.HasSuffix(l, "proxy") {
			opts = append(opts, option{name, value})
		}
	}
	slices.SortFunc(opts, func(a, b option) int { return strings.Compare(a.Name, b.Name) })
	return opts
}

// list is a sources.list for the guest.
func (s sources) list() string {
	return fmt.Sprintf(`deb [signed-by=%[1]s] %[2]s %[4]s main
deb [signed-by=%[1]s] %[2]s %[4]s-updates main
deb [signed-by=%[1]s] %[3]s %[4]s-security main
`, keyring, s.Main, s.Security, Suite)
}

// aptConf is an apt.conf for the guest, where the host's loopback has another
// address.
func (s sources) aptConf() string {
	var b strings.Builder
	for _, o := range s.Options {
		fmt.Fprintf(&b, "%s \"%s\";\n", o.Name, fromGuest(o.Value))
	}
	return b.String()
}

// fromGuest is the URL of a proxy as the guest reaches it.
func fromGuest(proxy string) string {
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" {
		return proxy
	}
	switch u.Hostname() {
	case "localhost", "127.0.0.1", "::1":
		if port := u.Port(); port != "" {
			u.Host = hostGateway + ":" + port
		} else {
			u.Host = hostGateway
		}
		return u.String()
	}
	return proxy
}
