package nasty

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// errUser is why an ordinary user's tree lacks something.
var errUser = errors.New("needs root")

func root() bool { return os.Geteuid() == 0 }

// contents makes files around the sizes at which gocryptfs (blocks of 4 KiB) and
// its readers (128 KiB at a time) change their ways, sparse files, and the bulk.
func (m *maker) contents(bulk int64) {
	m.dir("sizes")
	for _, size := range []int{0, 1, 4095, 4096, 4097, 131071, 131072, 131073} {
		m.file(fmt.Sprintf("sizes/%d", size), m.random(size))
	}
	m.file("sizes/zeros", make([]byte, 10_000))

	m.dir("sparse")
	m.sparse("sparse/hole in the middle", 3<<20, 0, 3<<20-4096)
	m.sparse("sparse/hole at the end", 1<<20+1, 0)
	m.sparse("sparse/only a hole", 8<<20)

	if bulk > 0 {
		m.bulk("bulk.bin", bulk)
	}
}

// sparse makes a file of size bytes with 4 KiB of data at each offset.
func (m *maker) sparse(rel string, size int64, offsets ...int64) {
	m.file(rel, nil)
	f, err := os.OpenFile(m.abs(rel), os.O_WRONLY, 0)
	if err != nil {
		return // noted by file
	}
	defer f.Close()
	for _, at := range offsets {
		if _, err := f.WriteAt(m.random(4096), at); err != nil {
			m.left(fmt.Sprintf("sparse file %q", rel), err)
		}
	}
	if err := f.Truncate(size); err != nil {
		m.left(fmt.Sprintf("sparse file %q", rel), err)
		return
	}
	m.made.Bytes += size
}

func (m *maker) bulk(rel string, size int64) {
	m.file(rel, nil)
	f, err := os.OpenFile(m.abs(rel), os.O_WRONLY, 0)
	if err != nil {
		return // noted by file
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = io.CopyN(w, m.rand, size)
	if ferr := w.Flush(); err == nil {
		err = ferr
	}
	if err != nil {
		m.left(fmt.Sprintf("%d bytes of %q", size, rel), err)
		return
	}
	m.made.Bytes += size
}

// modes makes files and folders with permissions that stand in the way of
// whoever copies them.
func (m *maker) modes() {
	m.dir("modes")
	for _, mode := range []uint32{0o000, 0o444, 0o555, 0o600, 0o777, 0o2755, 0o4755, 0o6711} {
		if mode == 0 && !root() {
			m.left("file of mode 0000", errUser)
			continue
		}
		m.file(fmt.Sprintf("modes/%04o", mode), fmt.Appendf(nil, "mode %04o\n", mode)).mode = ptr(mode)
	}
	for _, mode := range []uint32{0o000, 0o555, 0o700, 0o1777, 0o2775} {
		if mode == 0 && !root() {
			m.left("folder of mode 0000", errUser)
			continue
		}
		rel := fmt.Sprintf("modes/folder %04o", mode)
		n := m.dir(rel)
		m.file(rel+"/file", []byte("in it\n"))
		n.mode = ptr(mode)
	}
}

// owners makes files of others, also of ones that no password file names.
func (m *maker) owners() {
	m.dir("owners")
	if !root() {
		m.left("files of other owners", errUser)
		return
	}
	for _, o := range [][2]int{{1, 1}, {1000, 100}, {65534, 65534}, {12345, 54321}, {2_000_000_001, 2_000_000_002}} {
		m.file(fmt.Sprintf("owners/%d.%d", o[0], o[1]), []byte("owned\n")).owner = ptr(o)
	}
	m.symlink("owners/symlink", "1.1").owner = &[2]int{12345, 54321}
	n := m.dir("owners/folder")
	n.owner = &[2]int{12345, 54321}
	m.file("owners/folder/setuid", []byte("mode and owner\n")).owner = &[2]int{12345, 54321}
	m.nodes[len(m.nodes)-1].mode = ptr[uint32](0o4711)
}

// times makes entries whose dates do not fit somewhere. ext4 stores 1901 to
// 2446, the sftp protocol 1970 to 2106 (32 bits without a sign); MakeFailing has
// what gocryptfs cannot.
func (m *maker) times() {
	m.dir("times")
	for _, f := range []struct {
		name  string
		mtime time.Time
	}{
		{"1901", time.Date(1901, 12, 14, 0, 0, 0, 1, time.UTC)},
		{"1969 last second", time.Unix(-1, 999_999_999)},
		{"1969 half", time.Unix(-2, 500_000_000)},
		{"1970", time.Unix(0, 0)},
		{"whole second", time.Unix(1_000_000_000, 0)},
		{"1 ns", time.Unix(1_000_000_000, 1)},
		{"999999999 ns", time.Unix(1_000_000_000, 999_999_999)},
		{"2038", time.Unix(1<<31, 5)},
		{"2106 before", time.Unix(1<<32-1, 5)},
		{"2106 after", time.Unix(1<<32, 5)},
		{"2261", time.Date(2261, 12, 31, 0, 0, 0, 7, time.UTC)},
	} {
		m.file("times/"+f.name, []byte(f.name)).mtime = f.mtime
	}
	m.dir("times/folder 1960").mtime = time.Date(1960, 1, 1, 0, 0, 0, 3, time.UTC)
	m.symlink("times/symlink 1960", "1970").mtime = time.Date(1960, 1, 1, 0, 0, 0, 3, time.UTC)
}

// xattrs makes files with extended attributes, and on Linux an ACL and a file
// capability, which are extended attributes there.
func (m *maker) xattrs() {
	m.dir("xattrs")
	set := func(rel string, name string, value []byte) {
		m.file("xattrs/"+rel, []byte(rel)).xattrs = map[string][]byte{name: value}
	}
	set("user", "user.fuseless.note", []byte("remember me"))
	set("empty value", "user.fuseless.empty", nil)
	set("binary value", "user.fuseless.binary", m.random(1000))
	m.dir("xattrs/folder").xattrs = map[string][]byte{"user.fuseless.note": []byte("a folder's")}
	if runtime.GOOS != "linux" {
		m.left("ACL and capability", errors.New("Linux only"))
		return
	}
	set("acl", "system.posix_acl_access", posixACL())
	if !root() {
		m.left("capability", errUser)
		return
	}
	set("capability", "security.capability", netBindCapability())
}

// posixACL is user::rw-, user:12345:r--, group::r--, mask::r--, other::r-- as the
// kernel takes it (include/uapi/linux/posix_acl_xattr.h).
func posixACL() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{0x01, 6, 1<<32 - 1}, {0x02, 4, 12345}, {0x04, 4, 1<<32 - 1}, {0x10, 4, 1<<32 - 1}, {0x20, 4, 1<<32 - 1}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// netBindCapability is cap_net_bind_service=ep (struct vfs_cap_data, revision 2,
// in include/uapi/linux/capability.h).
func netBindCapability() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x02000000|1)
	for _, v := range []uint32{1 << 10, 0, 0, 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}
