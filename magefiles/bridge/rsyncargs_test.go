package bridge

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fuseless/guest/remote"
)

// recorded are requests of rsync 3.2.7 and 3.5.0 (both send the same), caught
// with a script as -e. One per line: the client's options that matter, the
// arguments after rsync, the path to be passed on.
const recorded = `
-aH ...: --server|-lHogtpre.iLsfxCIvu|--log-format=%i|--timeout=300|--stats|-@-1|--partial-dir|.fuseless-partial|--numeric-ids|.|vault
-n -c --delete --max-delete=0: --server|-nlHogtprce.iLsfxCIvu|--log-format=%i|--timeout=300|--max-delete=-1|--delete|--stats|-@-1|--partial-dir|.fuseless-partial|--numeric-ids|.|vault
--backup-dir --force: --server|-blHogtpre.iLsfxCIvu|--log-format=%i|--timeout=300|--backup-dir|../v.trash/20261123T154500Z|--max-delete=-1|--delete|--force|--stats|-@-1|--partial-dir|.fuseless-partial|--numeric-ids|.|vault
--delete-delay: --server|-blHogtpre.iLsfxCIvu|--log-format=%i|--timeout=300|--backup-dir|../v.trash/20261123T154500Z|--max-delete=1000|--delete-delay|--stats|-@-1|--partial-dir|.fuseless-partial|--numeric-ids|.|vault
--files-from: --server|-lHogtpRe.LsfxCIvu|--log-format=%i|--timeout=300|--stats|-@-1|--partial-dir|.fuseless-partial|--numeric-ids|--ignore-existing|.|vault
--mkpath --fsync: --server|-lOHre.iLsfxCIvu|--log-format=%i|--timeout=300|--stats|-@-1|--partial-dir|.fuseless-partial|--numeric-ids|--fsync|--mkpath|.|vault
-z -vv: --server|-vvlHogtpre.LsfxCIvu|--log-format=%i|--timeout=300|--checksum-choice=xxh3|--compress-choice=zstd|--delete-excluded|--stats|-@-1|--partial-dir|.fuseless-partial|--numeric-ids|.|vault
-R -x -S: --server|-lHogtprRxSze.iLsfxCIvu|--compress-level=3|--log-format=%i|--timeout=300|--max-size=1073741824|--stats|-@-1|.|vault
--inplace --bwlimit: --server|-lHogDtpre.iLsfxCIvu|--bwlimit=100|--delete-during|--size-only|--existing|--inplace|.|v
-q: --server|-qlOHtprxe.iLsfxCIvu|--log-format=X|.|v
--info: --server|-nlHtpre.iLsfxCIvu|--log-format=X|--delete-excluded|--existing|--info=ALL2|.|v
to the login folder: --server|-logDtpre.iLsfxCIvu|.|.
restore: --server|--sender|-lHogtpre.iLsfxCIvu|--timeout=30|--numeric-ids|.|vault/
restore -only: --server|--sender|-lHogtpRe.LsfxCIvu|--timeout=300|--numeric-ids|--files-from=-|--from0|.|vault/
list: --server|--sender|-re.iLsfxCIvu|--list-only|.|vault/
`

func TestRecordedRequestsPass(t *testing.T) {
	r := Remote{Target: "u@h", Path: "some/vault", Trash: "../v.trash"}
	for line := range strings.Lines(strings.TrimSpace(recorded)) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ": ")
		args := strings.Split(rest, "|")
		argv, err := Argv(r, remote.Request{Service: "rsync", Args: args})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := append([]string{"--", "u@h", "rsync"}, args[:len(args)-1]...)
		want = append(want, "some/vault/")
		if got := argv[len(argv)-len(want):]; !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, want)
		}
	}
}

func TestDangerousRequestsAreRefused(t *testing.T) {
	r := Remote{Target: "u@h", Path: "v", Trash: "../v.trash"}
	ok := "-logDtpre.iLsfxCIvu"
	for _, c := range []struct {
		bad  string // must stand in the error
		args string
	}{
		{"", ""},
		{"--daemon", "--daemon"},
		{"--daemon", "--server|--daemon|.|v"},
		{"--config=/x", "--server|" + ok + "|--config=/x|.|v"},
		{"--rsh=sh", "--server|--rsh=sh|.|v"},
		{"-e", "--server|-e|sh|.|v"},
		{"-esh", "--server|-esh|.|v"},
		{"-e.x;id", "--server|-e.x;id|.|v"},
		{"--rsync-path=x", "--server|--rsync-path=x|.|v"},
		{"--log-file=/x", "--server|" + ok + "|--log-file=/x|.|v"},
		{"--log-file", "--server|" + ok + "|--log-file|/x|.|v"},
		{"--log-format=%f;id", "--server|--log-format=%f;id|.|v"},
		{"--files-from=/etc/passwd", "--server|--sender|" + ok + "|--files-from=/etc/passwd|.|v/"},
		{"--files-from", "--server|--sender|" + ok + "|--files-from|/etc/passwd|.|v/"},
		{"--exclude-from=/x", "--server|--exclude-from=/x|.|v"},
		{"--remove-source-files", "--server|--sender|" + ok + "|--remove-source-files|.|v/"},
		{"--write-devices", "--server|" + ok + "|--write-devices|.|v"},
		{"--copy-devices", "--server|--sender|" + ok + "|--copy-devices|.|v/"},
		{"--temp-dir=/tmp", "--server|--temp-dir=/tmp|.|v"},
		{"--temp-dir", "--server|--temp-dir|/tmp|.|v"},
		{"-T", "--server|-T|/tmp|.|v"},
		{"--link-dest=/x", "--server|--link-dest=/x|.|v"},
		{"--link-dest", "--server|--link-dest|../x|.|v"},
		{"--compare-dest", "--server|--compare-dest|../x|.|v"},
		{"--copy-dest", "--server|--copy-dest|../x|.|v"},
		{"--ignore-errors", "--server|--ignore-errors|.|v"},
		{"--copy-as=root", "--server|--copy-as=root|.|v"},
		{"--super", "--server|--super|.|v"},
		{"--delete=x", "--server|--delete=x|.|v"},
		{"--max-delete", "--server|--max-delete|5|.|v"},
		{"--max-delete=$(id)", "--server|--max-delete=$(id)|.|v"},
		{"-slogDtpre.iLsfxCIvu", "--server|-slogDtpre.iLsfxCIvu"}, // arguments on standard input
		{"-slogDtpre.iLsfxCIvu", "--server|-slogDtpre.iLsfxCIvu|.|v"},
		{"-L", "--server|--sender|-Lre.iLsfxCIvu|.|v/"},
		{"-K", "--server|-Kre.iLsfxCIvu|.|v"},
		{"-", "--server|-|.|v"},
		{"; id", "--server|; id|.|v"},
		{"--partial-dir /tmp", "--server|--partial-dir|/tmp|.|v"},
		{"--partial-dir ..", "--server|--partial-dir|..|.|v"},
		{"--partial-dir ../x", "--server|--partial-dir=../x|.|v"},
		{"--partial-dir -x", "--server|--partial-dir|-x|.|v"},
		{"--partial-dir .", "--server|--partial-dir|.|v"},
		{"--backup-dir /tmp/x", "--server|--backup-dir|/tmp/x|.|v"},
		{"--backup-dir ../v.trash", "--server|--backup-dir|../v.trash|.|v"},
		{"--backup-dir ../v.trash/", "--server|--backup-dir|../v.trash/|.|v"},
		{"--backup-dir ../v.trash/..", "--server|--backup-dir|../v.trash/..|.|v"},
		{"--backup-dir ../v.trash/2026/../../x", "--server|--backup-dir|../v.trash/2026/../../x|.|v"},
		{"--backup-dir ../w.trash/20261123T154500Z", "--server|--backup-dir|../w.trash/20261123T154500Z|.|v"},
		{"@trash/x", "--server|" + ok + "|.|@trash/x"},
		{"@trash/2026/..", "--server|" + ok + "|.|@trash/2026/.."},
		{"@trash@", "--server|" + ok + "|.|@trash@"},
		{". v w", "--server|" + ok + "|.|v|w"},
		{". v --delete", "--server|" + ok + "|.|v|--delete"},
		{".", "--server|" + ok + "|."},
		{"v", "--server|" + ok + "|v"},
		{"v/gocryptfs.conf", "--server|--sender|" + ok + "|.|v/gocryptfs.conf"},
		{"--sender", "--server|" + ok + "|--sender|.|v"},
	} {
		var args []string
		if c.args != "" {
			args = strings.Split(c.args, "|")
		}
		argv, err := Argv(r, remote.Request{Service: "rsync", Args: args})
		if err == nil {
			t.Errorf("%q became %q", args, argv)
		} else if !strings.Contains(err.Error(), c.bad) {
			t.Errorf("%q: the error does not name %q: %v", args, c.bad, err)
		}
	}
}

func TestManyArgumentsAreRefused(t *testing.T) {
	args := append([]string{"--server"}, slices.Repeat([]string{"--stats"}, maxArgs)...)
	if _, err := Argv(Remote{Target: "h"}, remote.Request{Service: "rsync", Args: append(args, ".", "v")}); err == nil {
		t.Error("taken")
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct{ path, trash, sent, want string }{
		{"v", "", "/etc", "v/"},
		{"", "", "x", "./"},
		{".", "", "x", "./"},
		{"/", "", "x", "/"},
		{"/a/b/", "", "x", "/a/b/"},
		{"-rf", "", "x", "./-rf/"},
		{"~/x", "", "x", `./~/x/`},
		{"a b", "", "x", `'a b/'`},
		{"a;id", "", "x", `a\;id/`},
		{"$(id)`id`", "", "x", "\\$\\(id\\)\\`id\\`/"},
		{"it's", "", "x", `it\'s/`},
		{"v", "../v.trash", "@trash", "v.trash/"},
		{"a/v", "../v.trash", "@trash/20261123T154500Z/", "a/v.trash/20261123T154500Z/"},
		{"a/v", "/b/t", "@trash/20261123T154500Z", "/b/t/20261123T154500Z/"},
	} {
		argv, err := Argv(Remote{Target: "h", Path: c.path, Trash: c.trash}, remote.Request{Service: "rsync", Args: []string{"--server", "-r", ".", c.sent}})
		if err != nil {
			t.Error(err)
			continue
		}
		if got := argv[len(argv)-1]; got != c.want {
			t.Errorf("%q: %s, want %s", c.path, got, c.want)
		}
	}
	if _, err := Argv(Remote{Target: "h", Path: "v"}, remote.Request{Service: "rsync", Args: []string{"--server", "-r", ".", "@trash"}}); err == nil {
		t.Error("a trash was taken where none is configured")
	}
}

func TestBackupDirIsQuotedAnew(t *testing.T) {
	r := Remote{Target: "h", Path: "v", Trash: "../my v's.trash"}
	for _, sent := range []string{"../my v's.trash/20261123T154500Z", `../my\ v\'s.trash/20261123T154500Z`} {
		argv, err := Argv(r, remote.Request{Service: "rsync", Args: []string{"--server", "-re.i", "--backup-dir", sent, ".", "v"}})
		if err != nil {
			t.Error(err)
			continue
		}
		if got := argv[len(argv)-3]; got != `'../my v'\''s.trash/20261123T154500Z'` && got != `'../my v'"'"'s.trash/20261123T154500Z'` {
			t.Error(got)
		}
	}
}

func TestArgvGolden(t *testing.T) {
	argv, err := Argv(Remote{Target: "u1@box", Port: "23", SSHConfig: "/c"}, remote.Request{Service: "sftp"})
	must(t, err)
	want := "ssh -F /c -p 23 -T -o BatchMode=yes -o ClearAllForwardings=yes -o ForwardAgent=no -o ForwardX11=no" +
		" -o PermitLocalCommand=no -o RemoteCommand=none -o EscapeChar=none -o ControlMaster=no -o ConnectTimeout=30" +
		" -o ServerAliveInterval=5 -o ServerAliveCountMax=3 -o LogLevel=ERROR -s -- u1@box sftp"
	if got := strings.Join(argv, " "); got != want {
		t.Errorf("\ngot  %s\nwant %s", got, want)
	}
	for _, bad := range []Remote{{Target: ""}, {Target: "-oProxyCommand=id"}, {Target: "a b"}, {Target: "h", Port: "22 -v"}, {Target: "h", Path: "a\x00b"}, {Target: "h", SSHConfig: "c"}, {Target: "h", Trash: "-x"}} {
		if argv, err := Argv(bad, remote.Request{Service: "sftp"}); err == nil {
			t.Errorf("%+v became %q", bad, argv)
		}
	}
	for _, bad := range []remote.Request{{}, {Service: "shell"}, {Service: "sftp", Args: []string{"x"}}} {
		if argv, err := Argv(Remote{Target: "h"}, bad); err == nil {
			t.Errorf("%+v became %q", bad, argv)
		}
	}
}

// What this machine's rsync sends for all the options that we use, not only
// what two versions did.
func TestInstalledRsyncPasses(t *testing.T) {
	r := newRig(t)
	script, sent := filepath.Join(r.dir, "e"), filepath.Join(r.dir, "sent")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\nfor a; do printf '%s\\n' \"$a\"; done > "+sent+"\nexit 1\n"), 0o700))
	common := []string{"-aH", "--no-specials", "--no-devices", "--numeric-ids", "--modify-window=-1", "--itemize-changes", "--stats",
		"--info=progress2", "--partial-dir=.fuseless-partial", "--timeout=300", "--outbuf=L"}
	for _, more := range [][]string{
		{r.vault + "/", "u@host:vault"},
		{"--checksum", "--dry-run", "--delete", "--max-delete=0", r.vault + "/", "host:vault"},
		{"--backup", "--backup-dir=../vault.trash/20261123T154500Z", "--delete-delay", "--max-delete=0", "--force", "--filter=P /gocryptfs.conf", r.vault + "/", "host:"},
		{"--existing", "--checksum", "--include=*/", "--include=*.name", "--exclude=*", r.vault + "/", "host:vault"},
		{"--ignore-existing", "--files-from=-", "--from0", "host:vault/", r.dir + "/"},
		{"--ignore-existing", "host:vault/", r.dir + "/out/"},
	} {
		_ = exec.Command("rsync", append(append([]string{"-e", script}, common...), more...)...).Run() // the script fails
		b, err := os.ReadFile(sent)
		must(t, err)
		args := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		i := slices.Index(args, "--server")
		if _, err := Argv(r.remote, remote.Request{Service: "rsync", Args: args[i:]}); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}
