package hostmount

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestDavfsArgv(t *testing.T) {
	spec := Spec{URL: "http://127.0.0.1:8765/", User: "fuseless", Password: []byte("0123abcd"), Mountpoint: "/home/eve/My Photos", ReadOnly: true}
	want := []string{"mount.davfs", "-o",
		"conf=/run/x/c.conf,username=fuseless,uid=1000,gid=100,file_mode=600,dir_mode=700,nosuid,nodev,ro",
		"http://127.0.0.1:8765/", "/home/eve/My Photos"}
	if got := davfsArgv(spec, "/run/x/c.conf", 1000, 100); !slices.Equal(got, want) {
		t.Errorf("argv\n%q, want\n%q", got, want)
	}
}

func TestDavfsConf(t *testing.T) {
	conf := davfsConf(Spec{ReadOnly: true, Password: []byte("0123abcd")}, `/dev/shm/a b"c`)
	for _, line := range []string{"ask_auth 0", "buf_size 256", "delay_upload 0", "use_locks 0", "read_timeout 60", `cache_dir "/dev/shm/a b\"c"`} {
		if !strings.Contains("\n"+conf, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, conf)
		}
	}
	if strings.Contains(conf, "0123abcd") {
		t.Error("the password is in the configuration")
	}
	owner := regexp.MustCompile(`(?m)^lock_owner .*$`)
	a, b := davfsConf(Spec{Mountpoint: "/a"}, "/c"), davfsConf(Spec{Mountpoint: "/b"}, "/c")
	if a, b := owner.FindString(a), owner.FindString(b); a == "" || a == b {
		t.Errorf("two mounts have the locks of %q and %q", a, b)
	}
	if conf := davfsConf(Spec{}, "/c"); !strings.Contains(conf, "\nuse_locks 1\n") {
		t.Error("a writable mount takes no locks")
	}
}

func TestParseSystemConf(t *testing.T) {
	for text, want := range map[string]systemConf{
		"":                                   {group: "davfs2"},
		"# proxy foo:8080\n#dav_group x\n":   {group: "davfs2"},
		"proxy\tfoo:8080 # ours\n":           {group: "davfs2", proxy: "foo:8080"},
		"use_proxy 0\nproxy foo:8080\n":      {group: "davfs2"},
		"  dav_group   \"webdav\"\nproxy\n ": {group: "webdav"},
	} {
		if got := parseSystemConf(strings.NewReader(text)); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

func TestGioCommand(t *testing.T) {
	if got := gioCommand(Spec{URL: "http://127.0.0.1:8765/", User: "fuseless"}); got != "gio mount dav://fuseless@127.0.0.1:8765/" {
		t.Error(got)
	}
}
