package release

import (
	"bytes"
	_ "embed"
	"net/url"
	"regexp"
	"strings"
	"text/template"

	"fuseless/guest/proto"
)

//go:embed formula.rb.tmpl
var formulaText string

var formulaTemplate = template.Must(template.New("formula").Parse(formulaText))

// homepage is the project's page where the address of the archives does not
// tell it.
const homepage = "https://github.com/fuseless/fuseless"

// urls are what can be put into a Ruby string as it is.
var urls = regexp.MustCompile(`^(https://[A-Za-z0-9]|file:///)[A-Za-z0-9._~:/%@+-]*$`)

// downloads is the address of the folder that has the archives of version.
// file: is for trying a formula out before anything is published.
func downloads(address, version string) (string, error) {
	if address == "" {
		address = DefaultURL
	}
	address = strings.TrimSuffix(strings.ReplaceAll(address, "VERSION", version), "/")
	if _, err := url.Parse(address); err != nil || !urls.MatchString(address) {
		return "", proto.Errorf(proto.Config, "%q cannot be where the archives are", address).
			WithHint("give a folder, such as -url=https://example.org/fuseless/VERSION or -url=file:///tmp/release/VERSION")
	}
	return address, nil
}

// download is an archive in the formula.
type download struct{ Block, URL, SHA256 string }

// formula is the Homebrew formula (https://docs.brew.sh/Formula-Cookbook) for
// the archives in url. sums are their checksums, in hex.
func formula(version, url string, sums map[string]string) ([]byte, error) {
	data := struct {
		Version, Homepage string
		MacOS, Linux      []download
	}{Version: version, Homepage: homepage}
	// As on GitHub and on what is like it.
	if page, _, ok := strings.Cut(url, "/releases/"); ok && strings.HasPrefix(page, "https:") {
		data.Homepage = page
	}
	block := map[string]string{"amd64": "on_intel", "arm64": "on_arm"}
	for _, p := range platforms {
		name := p.archive(version)
		sum, ok := sums[name]
		if !ok {
			continue // of a release for some platforms only
		}
		d := download{block[p.arch], url + "/" + name, sum}
		if p.os == "darwin" {
			data.MacOS = append(data.MacOS, d)
		} else {
			data.Linux = append(data.Linux, d)
		}
	}
	var b bytes.Buffer
	if err := formulaTemplate.Execute(&b, data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
