//go:build linux

package main_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// reader is a program with which people read over WebDAV.
type reader struct {
	name string
	// get reads the file name into the file to, list prints or writes into to what is
	// in the folder name.
	get, list func(a access, name, to string) *exec.Cmd
	// arriving are the files, if there are any yet, in which what get reads arrives.
	arriving func(l *viewLab, name, to string) []string
	// names are those that list has printed, or written into to.
	names func(stdout []byte, to string) ([]string, error)
	// absent says that the program claims that there is no such file or folder.
	absent func(code int, said string) bool
}

// access is what readers need to know. The secrets are in files.
type access struct {
	ctx            context.Context
	lab            *viewLab
	curlrc, rclone string
}

// newAccess makes the configurations of the readers, on tmpfs.
func newAccess(ctx context.Context, l *viewLab) access {
	l.t.Helper()
	dir, err := os.MkdirTemp(l.mem, "readers-")
	must(l.t, err)
	l.t.Cleanup(func() { _ = os.RemoveAll(dir) }) // before the lab looks at what is left
	a := access{ctx, l, filepath.Join(dir, "curlrc"), filepath.Join(dir, "rclone.conf")}
	s := l.session()
	must(l.t, os.WriteFile(a.curlrc, fmt.Appendf(nil, "user = \"%s:%s\"\n", s.User, s.Password), 0o600))
	c := exec.Command("rclone", "obscure", "-")
	c.Stdin = strings.NewReader(s.Password)
	obscured, err := c.Output()
	must(l.t, err)
	must(l.t, os.WriteFile(a.rclone, fmt.Appendf(nil, "[view]\ntype = webdav\nvendor = other\nurl = http://%s/\nuser = %s\npass = %s\n",
		s.Address, s.User, obscured), 0o600))
	return a
}

// inGuest is a command in the guest's network, where the server listens.
func (a access) inGuest(argv ...string) *exec.Cmd {
	c := exec.CommandContext(a.ctx, argv[0], argv[1:]...)
	a.lab.net.InGuest(c)
	return c
}

func (a access) curl(name, to string, args ...string) *exec.Cmd {
	u := url.URL{Scheme: "http", Host: a.lab.session().Address, Path: "/" + name}
	return a.inGuest(slices.Concat([]string{"curl", "-q", "-K", a.curlrc, "--noproxy", "*", "-sS", "--fail", "-o", to}, args, []string{u.String()})...)
}

func (a access) rcloneDoes(args ...string) *exec.Cmd {
	return a.inGuest(append([]string{"rclone", "--config", a.rclone, "--retries", "1", "--low-level-retries", "1", "--buffer-size", "0"}, args...)...)
}

func glob(pattern string) []string {
	files, _ := filepath.Glob(pattern)
	return files
}

func lines(stdout []byte, _ string) ([]string, error) {
	return strings.Fields(string(stdout)), nil
}

// multistatusNames are the names of the entries in a whole 207 in a file.
func multistatusNames(_ []byte, file string) ([]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var doc struct {
		XMLName xml.Name `xml:"DAV: multistatus"`
		Hrefs   []string `xml:"DAV: response>href"`
	}
	if err := xml.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	if len(doc.Hrefs) == 0 {
		return nil, errors.New("the folder itself is not in it")
	}
	names := []string{}
	for _, h := range doc.Hrefs[1:] { // the folder is the first
		names = append(names, path.Base(h))
	}
	return names, nil
}

func readers() []reader {
	return []reader{
		// davfs2 comes first: a path of several folders costs it some requests before
		// the one that matters.
		{name: "davfs2",
			get: func(a access, name, to string) *exec.Cmd {
				return exec.CommandContext(a.ctx, "cp", filepath.Join(a.lab.mnt, name), to)
			},
			list: func(a access, name, _ string) *exec.Cmd {
				return exec.CommandContext(a.ctx, "ls", "-A", filepath.Join(a.lab.mnt, name))
			},
			// davfs2 reads a file whole before it is open (its cache.c, create_cache_file).
			arriving: func(l *viewLab, name, _ string) []string {
				in := fmt.Sprintf("fuseless-davfs2-*-%s/*/%s-*", hostMountKey(l.mnt), path.Base(name))
				return append(glob("/run/"+in), glob("/dev/shm/"+in)...)
			},
			names:  lines,
			absent: func(_ int, said string) bool { return strings.Contains(said, "No such file") },
		},
		{name: "curl",
			get: func(a access, name, to string) *exec.Cmd { return a.curl(name, to) },
			list: func(a access, name, to string) *exec.Cmd {
				return a.curl(name+"/", to, "-X", "PROPFIND", "-H", "Depth: 1")
			},
			arriving: func(_ *viewLab, _, to string) []string { return glob(to) },
			names:    multistatusNames,
			// "The requested URL returned error: 404"
			absent: func(_ int, said string) bool { return strings.Contains(said, "returned error: 4") },
		},
		{name: "rclone",
			get:  func(a access, name, to string) *exec.Cmd { return a.rcloneDoes("copyto", "view:"+name, to) },
			list: func(a access, name, _ string) *exec.Cmd { return a.rcloneDoes("lsf", "view:"+name) },
			// Later versions than 1.60 give it another name meanwhile.
			arriving: func(_ *viewLab, _, to string) []string { return glob(to + "*") },
			names:    lines,
			// 3: directory not found, 4: file not found (rclone.org/docs, list of exit codes).
			absent: func(code int, _ string) bool { return code == 3 || code == 4 },
		},
	}
}
