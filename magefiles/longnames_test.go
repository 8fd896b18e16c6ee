//go:build linux

package main_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gocryptfs reads the long names of a folder one after the other, two round trips each. The
// server of a view does not wait for that.
func TestLongNamesOverLink(t *testing.T) {
	l := &viewLab{linkLab: newLinkLab(t)}
	needs(t)
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf("%03d-%s", i, strings.Repeat("n", 200)))
		for _, folder := range []string{"served", "mounted"} {
			l.write(folder+"/"+names[i], "x")
		}
	}
	l.ok("init")
	l.ok("backup")
	l.net.SetLink(broadband)
	l.ok("remoteMount", "serve")
	l.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return l.net.DialGuest(ctx, addr)
	}}
	begun := time.Now()
	b, err := l.ask(l.session(), "PROPFIND", "/served/")
	served := time.Since(begun)
	must(t, err)
	for _, name := range names {
		if !strings.Contains(string(b), "/served/"+name+"<") {
			t.Errorf("%s is not listed", name)
		}
	}
	begun = time.Now()
	entries, err := os.ReadDir(filepath.Join(l.runDir(), "view", "mounted"))
	mounted := time.Since(begun)
	must(t, err)
	if len(entries) != len(names) {
		t.Errorf("the view has %d names", len(entries))
	}
	if t.Logf("%v, and %v without the server", served, mounted); 2*served > mounted {
		t.Error("the server waits for each name")
	}
	l.ok("close")
}
