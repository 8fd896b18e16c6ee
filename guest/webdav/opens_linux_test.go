package webdav

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// opens tells which files in a folder are opened, by whatever program and call (inotify(7)).
type opens struct {
	t  *testing.T
	fd int
}

func watchOpens(t *testing.T, folder string) *opens {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, folder, unix.IN_OPEN|unix.IN_ACCESS); err != nil {
		t.Fatal(err)
	}
	return &opens{t, fd}
}

// seen gives the files opened or read, and how often the folder itself was
// opened, since it was last asked. An event is there when the call returns that makes it.
func (o *opens) seen() (files []string, folder int) {
	o.t.Helper()
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Read(o.fd, buf)
		if err == unix.EAGAIN {
			return files, folder
		}
		if err != nil {
			o.t.Fatal(err)
		}
		for b := buf[:n]; len(b) > 0; {
			mask, length := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
			name := string(bytes.TrimRight(b[unix.SizeofInotifyEvent:][:length], "\x00"))
			b = b[unix.SizeofInotifyEvent+length:]
			switch {
			case mask&unix.IN_Q_OVERFLOW != 0:
				o.t.Fatal("the queue of events ran over")
			case name != "":
				files = append(files, name)
			case mask&unix.IN_OPEN != 0:
				folder++
			}
		}
	}
}

// TestPropfindOpensNoFile watches the kernel; TestPropfindOpensNothing counts
// what is asked of the FS.
func TestPropfindOpensNoFile(t *testing.T) {
	s, root := serveDir(t, true)
	for i := range 2000 {
		write(t, "x", root, "many", fmt.Sprintf("file%04d%s", i, []string{"", ".txt", ".html"}[i%3]))
	}
	write(t, "x", root, "many", "sub", "file")
	o := watchOpens(t, root+"/many")
	for what, body := range map[string]string{
		"macOS": macOSPropfind, "allprop": "", "propname": `<propfind xmlns="DAV:"><propname/></propfind>`,
		"type, ETag and quota": `<propfind xmlns="DAV:"><prop><getcontenttype/><getetag/><quota-used-bytes/></prop></propfind>`,
	} {
		if e := s.propfind("/many", "1", body); len(e) != 2002 {
			t.Errorf("%s: %d entries", what, len(e))
		}
		files, folder := o.seen()
		if len(files) > 0 {
			t.Errorf("%s: %d files opened, %q first", what, len(files), files[0])
		}
		if folder == 0 {
			t.Errorf("%s: not even the folder was opened, so nothing is seen here", what)
		}
		t.Logf("%s: the folder opened %d times", what, folder)
	}
	s.propfind("/many/file0001.txt", "0", "")
	s.do("HEAD", "/many/file0001.txt", nil).want(t, 200)
	s.do("PROPFIND", "/many/._file0001.txt", nil, "Depth: 0").want(t, 404)
	if files, _ := o.seen(); len(files) > 0 {
		t.Errorf("opened: %q", files)
	}
	s.do("GET", "/many/file0001.txt", nil).want(t, 200)
	if files, _ := o.seen(); len(files) == 0 || files[0] != "file0001.txt" {
		t.Errorf("the file that is read is not seen: %q", files)
	}
}
