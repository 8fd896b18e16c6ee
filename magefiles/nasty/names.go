package nasty

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// repeat is unit again and again, cut to n bytes.
func repeat(unit string, n int) string { return strings.Repeat(unit, n/len(unit)+1)[:n] }

// links makes hard links, also between folders, and symlinks of every kind.
func (m *maker) links() {
	m.dir("links")
	m.dir("links/other")
	m.dir("links/folder")
	m.file("links/folder/inside.txt", []byte("behind a symlink\n"))
	m.file("links/file", []byte("linked three times\n"))
	m.hardlink("links/file", "links/second")
	m.hardlink("links/file", "links/other/third")
	m.file("links/alone", []byte("linked three times\n")) // the same content, but no link

	for _, l := range [][2]string{
		{"relative", "file"},
		{"up and down", "../links/folder/inside.txt"},
		{"to folder", "folder"},
		{"to link", "relative"},
		{"through link", "to folder/inside.txt"},
		{"absolute", m.abs("links/file")},
		{"absolute out", "/etc/hostname"},
		{"dangling", "no such file"},
		{"loop", "loop"},
		{"escaping", "../../../../../../../../etc/hostname"},
		{"back in", "../../" + filepath.Base(m.made.Dir) + "/links/file"},
		{"target 3000", repeat("./", 2996) + "file"},
		{"dangling 3000", repeat("nowhere/", 3000)},
		{"odd target", "new\nline \xff %41 é"},
	} {
		m.symlink("links/"+l[0], l[1])
	}
}

func (m *maker) hardlink(from, to string) {
	if err := os.Link(m.abs(from), m.abs(to)); err != nil {
		m.left(fmt.Sprintf("hard link %q", to), err)
		return
	}
	m.made.Entries++
}

// names makes names that something on the way could take for something else.
func (m *maker) names() {
	m.dir("names")
	for _, name := range []string{
		"caf\u00e9", "cafe\u0301", // NFC and NFD of one word
		"new\nline", "tab\tbed", "carriage\rreturn", "bell\a", "\x7f",
		"-rf", "--delete", " leading space", "trailing space ", " ", "~", "~tilde", "#hash#", "trailing dot.", "...",
		"100%", "%41", "%2F", "%2e%2e", "a#b", "a?b", "a&b", "&amp;", "<tag>", "]]>", `"double"`, "'single'", "`back`", "$HOME", "$(id)",
		`back\slash`, `\`, "*", "?", "[ab]", "{a,b}", "a:b", "a|b", "a;b", "a+b", "a=b", "a@b", "!", "^", "(x)",
		"\xff", "latin1 \xe9", "cut \xe2\x82", "\u65e5\u672c\u8a9e", "\U0001f512", "rtl \u202e", "zero\u200bwidth", "bom \ufeff",
		"UPPER", "upper", "CON", "con.txt", ".hidden", ".gitignore", ".DS_Store", "._file", ".Trash", "lost+found", "desktop.ini",
		"gocryptfs.conf", "gocryptfs.diriv", "gocryptfs.longname.x", "gocryptfs.longname.x.name", "x.name",
		".gocryptfs.reverse.conf", ".gocryptfs.conf", ".~tmp~", ".rsync-partial", ".rsync-filter", ".fuse_hidden0000",
	} {
		m.file("names/"+name, fmt.Appendf(nil, "named %q\n", name))
	}
	m.dir("names/folders")
	for _, name := range []string{"caf\u00e9", "cafe\u0301", "new\nline", "-dash", " space ", "a%20b", "\xfe\xff", "x.name", "gocryptfs.conf", `back\slash`} {
		m.dir("names/folders/" + name)
		m.file("names/folders/"+name+"/file", fmt.Appendf(nil, "in %q\n", name))
	}
	// At the root these are what a vault keeps there itself.
	for _, name := range []string{"gocryptfs.conf", "gocryptfs.diriv", "gocryptfs.longname.x", "x.name", ".gitignore"} {
		m.file(name, fmt.Appendf(nil, "the user's own %s\n", name))
	}

	// gocryptfs hashes names whose encryption passes 255 bytes: from 176 bytes on.
	// davfs2 cannot open folders from 245 bytes on, files from 249.
	m.dir("long")
	for _, n := range []int{175, 176, 244, 245, 248, 249, 255} {
		m.file("long/"+repeat(fmt.Sprintf("file%d-", n), n), fmt.Appendf(nil, "%d bytes\n", n))
		dir := "long/" + repeat(fmt.Sprintf("folder%d-", n), n)
		m.dir(dir)
		m.file(dir+"/file", fmt.Appendf(nil, "in %d bytes\n", n))
	}
	m.file("long/"+repeat("\u65e5", 255), []byte("85 characters\n"))
}

// folders makes an empty folder, a deep one and a full one. Ten levels stay well
// below the depth at which encrypted paths pass 4,096 bytes.
func (m *maker) folders() {
	m.dir("empty")
	deep := "deep"
	m.dir(deep)
	for i := range 10 {
		deep += fmt.Sprintf("/level %d %s", i, repeat("x", 90))
		m.dir(deep)
	}
	m.file(deep+"/bottom", []byte("ten levels down\n"))
	m.dir("many")
	for i := range 300 {
		m.file(fmt.Sprintf("many/%03d", i), fmt.Appendf(m.random(i), "%d", i))
	}
}

// special makes what is neither file, folder nor symlink.
func (m *maker) special() {
	m.dir("special")
	node := func(name string, needsRoot bool, make func(path string) error) {
		if needsRoot && !root() {
			m.left(name, errUser)
			return
		}
		rel := "special/" + name
		if err := make(m.abs(rel)); err != nil {
			m.left(name, err)
			return
		}
		m.add(rel).mode = ptr[uint32](0o640)
	}
	node("fifo", false, func(p string) error { return unix.Mkfifo(p, 0o640) })
	node("socket", false, m.socket)
	// Major 60 is reserved for local use, in both lists of devices.txt.
	node("chardev", true, func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o640, int(unix.Mkdev(60, 1))) })
	node("blockdev", true, func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o640, int(unix.Mkdev(60, 2))) })
}

// socket makes a unix socket. The path for bind is limited to 107 bytes (103 on
// darwin), hence the short way through a symlink.
func (m *maker) socket(path string) error {
	tmp, err := os.MkdirTemp("", "s")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Symlink(filepath.Dir(path), tmp+"/d"); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrUnix{Name: tmp + "/d/" + filepath.Base(path)})
}
