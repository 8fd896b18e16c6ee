package webdav

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

const (
	askQuota    = `<propfind xmlns="DAV:"><prop><resourcetype/><quota-available-bytes/><quota-used-bytes/></prop></propfind>`
	linuxClient = "User-Agent: davfs2/1.6.1 neon/0.32.4"
	macOSAgent  = "User-Agent: WebDAVFS/3.0.0 (03008000) Darwin/24.6.0 (arm64)"
	macOSFirst  = "User-Agent: WebDAVLib/1.3"
)

// roomyFS has a quota, and counts how often it is asked for it.
type roomyFS struct {
	*Dir
	asked atomic.Int32
	fails atomic.Bool
}

func (f *roomyFS) Quota(context.Context) (Quota, error) {
	f.asked.Add(1)
	if f.fails.Load() {
		return Quota{}, syscall.ENOTCONN
	}
	return Quota{Available: 1 << 63, Used: 7}, nil
}

func TestQuota(t *testing.T) {
	root := t.TempDir()
	write(t, "x", root, "d", "f")
	write(t, "x", root, "f")
	f := &roomyFS{Dir: newDir(t, root)}
	s := serve(t, f, true)
	ask := func(path, depth, body, agent string) entries {
		t.Helper()
		return parse(t, s.do("PROPFIND", path, strings.NewReader(body), "Depth: "+depth, agent).want(t, 207).body)
	}

	e := ask("/", "1", askQuota, linuxClient)
	for _, folder := range []string{"/", "/d/"} {
		if e[folder][quotaAvailable] != "200 9223372036854775808" || e[folder][quotaUsed] != "200 7" {
			t.Errorf("%s: %v", folder, e[folder])
		}
	}
	if e["/f"][quotaAvailable] != "404" {
		t.Errorf("a file: %v", e["/f"])
	}
	if n := f.asked.Load(); n != 1 {
		t.Errorf("a listing asks %d times", n)
	}
	if e := ask("/", "0", `<propfind xmlns="DAV:"><allprop/><include><quota-used-bytes/></include></propfind>`, linuxClient); e["/"][quotaUsed] != "200 7" || e["/"]["getlastmodified"] == "" {
		t.Errorf("allprop and include: %v", e["/"])
	}

	// What does not ask for it by name costs nothing, nor does what cannot have it.
	f.asked.Store(0)
	for _, body := range []string{"", macOSPropfind, `<propfind xmlns="DAV:"><propname/></propfind>`, `<propfind xmlns="DAV:"><prop><quota-used-bytes xmlns="x:"/></prop></propfind>`} {
		e := ask("/", "1", body, linuxClient)
		if got := e["/"][quotaAvailable] + e["/"][quotaUsed]; got != "" {
			t.Errorf("%s: %q", body, got)
		}
	}
	ask("/f", "0", askQuota, linuxClient)
	s.do("PROPFIND", "/none", strings.NewReader(askQuota), "Depth: 0").want(t, 404)
	for _, agent := range []string{macOSAgent, macOSFirst} {
		if e := ask("/", "0", askQuota, agent); e["/"][quotaAvailable] != "404" || e["/"][quotaUsed] != "404" || e["/"]["resourcetype"] != "200 <D:collection/>" {
			t.Errorf("%s: %v", agent, e["/"])
		}
	}
	if n := f.asked.Load(); n != 0 {
		t.Errorf("asked %d times without need", n)
	}

	// A failure is no failure of the listing.
	f.fails.Store(true)
	for range 3 {
		if e := ask("/", "1", askQuota, linuxClient); e["/"][quotaAvailable] != "404" || len(e) != 3 {
			t.Errorf("got %v", e)
		}
	}
	if n := strings.Count(s.log.String(), "room"); n != 1 {
		t.Errorf("logged %d times: %s", n, s.log)
	}
	f.fails.Store(false)
	if e := ask("/", "0", askQuota, linuxClient); e["/"][quotaUsed] != "200 7" {
		t.Errorf("not asked again after a failure: %v", e["/"])
	}
}

func TestNoQuota(t *testing.T) {
	var bare struct{ FS }
	bare.FS = newDir(t, t.TempDir())
	if e := serve(t, bare, true).propfind("/", "0", askQuota); e["/"][quotaUsed] != "404" {
		t.Errorf("got %v", e["/"])
	}
}
