package prereq

import "testing"

func need(t *testing.T, program string) Need {
	t.Helper()
	for _, n := range append(LocalGuest(), Bench()...) {
		if n.Program == program {
			return n
		}
	}
	t.Fatal("no need for " + program)
	return Need{}
}

// TestVersionsOfRealOutputs has what the programs of Debian 12, Ubuntu and
// macOS print.
func TestVersionsOfRealOutputs(t *testing.T) {
	for _, c := range []struct{ program, output, version string }{
		{"gocryptfs", "gocryptfs 2.3; go-fuse 2.1.0+git20220822.58a7e14; 2023-04-09 go1.19.8 linux/amd64\n", "2.3"},
		{"gocryptfs", "gocryptfs v2.4.0; go-fuse v2.3.0; 2023-06-10 go1.20.5 linux/amd64\n", "2.4.0"},
		{"sshfs", "fusermount3 version: 3.14.0\nSSHFS version 3.7.3\nFUSE library version 3.14.0\nusing FUSE kernel interface version 7.31\n", "3.7.3"},
		{"fusermount3", "fusermount3 version: 3.14.0\n", "3.14.0"},
		{"rsync", "rsync  version 3.5.0  protocol version 32\nCopyright (C) 1996-2026 by Andrew Tridgell, Wayne Davison, and others.\n", "3.5.0"},
		{"rsync", "rsync  version v3.2.7  protocol version 31\n", "3.2.7"},
		{"rsync", "openrsync: protocol version 29\nrsync version 2.6.9 compatible\n", "2.6.9"},
		{"ssh", "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026\n", "9.2p1"},
		{"ssh", "OpenSSH_9.9p2, LibreSSL 3.3.6\n", "9.9p2"},
		{"mount.davfs", "davfs2 1.6.1  <http://savannah.nongnu.org/projects/davfs2>\n\nThis is free software; see the source for copying conditions.  There is NO\n", "1.6.1"},
		{"mount.davfs", "no such thing\n", ""},
		{"restic", "restic 0.14.0 compiled with go1.19.8 on linux/amd64\n", "0.14.0"},
		{"borg", "borg 1.2.4\n", "1.2.4"},
		{"rclone", "rclone v1.60.1-DEV\n- os/version: debian 12.12 (64 bit)\n", "1.60.1"},
	} {
		if got := need(t, c.program).parseVersion(c.output); got != c.version {
			t.Errorf("%s: %q, want %q, from %q", c.program, got, c.version, c.output)
		}
	}
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"2.3", "2.3", false}, {"2.3", "2.3.0", false}, {"1.8.0", "2.3", true}, {"2.10", "2.9", false},
		{"3.1.3", "3.2.0", true}, {"9.2p1", "7.6", false}, {"7.5p1", "7.6", true}, {"2.3-beta1", "2.3", false},
	} {
		if got := older(c.a, c.b); got != c.want {
			t.Errorf("older(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

func TestTablesAreComplete(t *testing.T) {
	for _, n := range append(append(LocalGuest(), Tests()...), Host()...) {
		if n.Name() == "" || n.Why == "" || n.Apt == "" || (n.Min != "" && n.Version == nil) {
			t.Errorf("incomplete: %+v", n)
		}
	}
}
