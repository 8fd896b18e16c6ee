//go:build linux

package gocryptfs

import "testing"

func TestParseVersion(t *testing.T) {
	for out, want := range map[string]string{
		"gocryptfs 2.3; go-fuse 2.1.0+git20220822.58a7e14; 2023-04-09 go1.19.8 linux/amd64": "2.3.0",
		"gocryptfs v2.5.1; go-fuse v2.7.2; 2025-01-24 go1.24.4 linux/arm64":                 "2.5.1",
		"gocryptfs v2.4.0 without_openssl; go-fuse [vendored]; go1.22.1 linux/amd64":        "2.4.0",
		"gocryptfs [GitVersion not set - please compile using ./build.bash]":                "0.0.0",
	} {
		v, _ := ParseVersion(out)
		if v.String() != want {
			t.Errorf("%q: got %s, want %s", out, v, want)
		}
	}
	// A version that cannot be read counts as one with the fault.
	if v, ok := ParseVersion("?"); ok || !v.Less(FixedReverse) {
		t.Error("an unknown version must be treated as an old one")
	}
	if (Version{2, 5, 0}).Less(FixedReverse) || !(Version{2, 4, 99}).Less(FixedReverse) {
		t.Error("gocryptfs#802 is fixed in 2.5.0")
	}
}

func TestVirtual(t *testing.T) {
	for p, want := range map[string]bool{
		"gocryptfs.conf": true, "a/gocryptfs.diriv": true, "gocryptfs.longname.x.name": true,
		"a/gocryptfs.longname.x": false, "5LawPn77G_LFVJUx-uwnSA": false,
	} {
		if got := Virtual(p); got != want {
			t.Errorf("%s: got %v", p, got)
		}
	}
}

// The order matters: the last pattern that matches decides.
func TestExcludesProtectTheKeyFile(t *testing.T) {
	if got, want := string(excludes([]string{"*"})), "*\n!/.gocryptfs.reverse.conf\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What the kernel asks and an old go-fuse does not know is no damage.
func TestComplaints(t *testing.T) {
	got := complaints("\n16:17:35.058186 Unimplemented opcode OPCODE-52\nOpenDir \"Unimplemented opcode\": invalid entry \"y\": bad message\n")
	if len(got) != 1 || got[0] != "OpenDir \"Unimplemented opcode\": invalid entry \"y\": bad message" {
		t.Errorf("%q", got)
	}
}
