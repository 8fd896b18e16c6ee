//go:build linux

package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
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
	// What the names are decrypted with is with gocryptfs, and nothing of it in a file.
	var view struct {
		Pid     int `json:"pid"`
		NameKey int `json:"name_key"`
	}
	b, err = os.ReadFile(filepath.Join(l.runDir(), "view.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &view))
	b, err = os.ReadFile(fmt.Sprintf("/proc/%d/fd/%d", view.Pid, view.NameKey))
	must(t, err)
	var kept struct{ Key []byte }
	if err := json.Unmarshal(b, &kept); err != nil || len(kept.Key) != 32 {
		t.Fatalf("%v, a key of %d bytes", err, len(kept.Key))
	}
	running, err := filepath.Glob(filepath.Join(l.runDir(), "*"))
	must(t, err)
	for _, name := range append(filesBelow(l.home), running...) {
		if fi, err := os.Lstat(name); err != nil || !fi.Mode().IsRegular() {
			continue
		}
		b, err := os.ReadFile(name)
		must(t, err)
		if bytes.Contains(b, kept.Key) || bytes.Contains(b, []byte(base64.StdEncoding.EncodeToString(kept.Key))) {
			t.Errorf("the key is in %s", name)
		}
	}
	l.ok("close")
}
