//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
	"fuseless/magefiles/compare"
)

// chain is the demo's chain through the VM. Its first backup is disturbed.
func (r *run) chain() []part {
	return []part{
		{"init", r.init},
		{"backup; the host is suspended, then the link is cut: it goes on", r.disturbedBackup},
		{"backup again: nothing to send", r.nothingToSend},
		{"remoteMount", r.command("remoteMount")},
		{"serve", r.command("serve")},
		{"compare over WebDAV", r.compareWebDAV},
		{"hostMount", r.command("hostMount")},
		{"compare on the mountpoint", r.compareMount},
		{"restore", func(ctx context.Context) error { return r.command("restore", "-to="+r.restored())(ctx) }},
		{"compare the restored files", r.compareRestored},
		{"status", r.allMounted},
	}
}

// command is a step that is one call.
func (r *run) command(args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := r.fuseless(ctx, args...)
		return err
	}
}

// init makes the vault, and then takes the picture that everything is compared
// with.
func (r *run) init(ctx context.Context) error {
	if _, err := r.fuseless(ctx, "init"); err != nil {
		return err
	}
	if err := r.masterKey(ctx); err != nil {
		return err
	}
	var err error
	r.source, err = compare.Local(ctx, r.home(mainSource))
	return err
}

// instance is a file in the VM's folder.
func (r *run) instance(name string) string {
	return filepath.Join(r.home(".fuseless-lima", "fuseless"), name)
}

func (r *run) nothingToSend(ctx context.Context) error {
	if _, err := r.fuseless(ctx, "backup"); err != nil {
		return err
	}
	b, err := r.lastBackup(ctx, mainVault)
	if err == nil && (b.Transferred != 0 || b.Created != 0 || b.Deleted != 0) {
		err = different("a second backup of an unchanged source had something to do: %+v", b)
	}
	return err
}

func (r *run) allMounted(ctx context.Context) error {
	if _, err := r.fuseless(ctx, "status"); err != nil {
		return err
	}
	s, err := r.status(ctx, mainVault)
	if err != nil {
		return err
	}
	if s.Remote == nil || !s.Remote.Alive || s.View == nil || !s.View.Alive || s.Server == nil || s.Bridge == 0 || s.HostMount == "" {
		return different("something of the open view is missing in status: %+v", s)
	}
	return nil
}

// sessionOf prints, in the guest, what the vault's WebDAV server wants.
func sessionOf(vault string) string {
	return `cat /run/user/$UID/fuseless/*/` + vault + `/webdav.json 2>/dev/null || cat /dev/shm/fuseless-$UID/*/` + vault + `/webdav.json`
}

// session is what the running WebDAV server wants from its clients. There is no
// target that tells it, so it is read where the guest keeps it.
func (r *run) session(ctx context.Context) (proto.Session, error) {
	var s proto.Session
	out, err := r.shell(ctx, sessionOf(mainVault))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Password == "" {
		return s, different("webdav.json in the guest holds no session")
	}
	r.secrets["a WebDAV password, "+strconv.Itoa(len(r.secrets))] = []byte(s.Password)
	return s, nil
}

func (r *run) compareWebDAV(ctx context.Context) error {
	s, err := r.session(ctx)
	if err != nil {
		return err
	}
	got, err := compare.WebDAV(ctx, "http://"+s.Address+"/", s.User, string(s.Password))
	if err != nil {
		return err
	}
	return r.judge(got, "webdav", "sshfs", "lima")
}

func (r *run) compareMount(ctx context.Context) error {
	got, err := compare.Local(ctx, r.mountpoint())
	if err != nil {
		return err
	}
	return r.judge(got, "davfs2", "sshfs", "lima")
}

func (r *run) compareRestored(ctx context.Context) error {
	got, err := compare.Local(ctx, r.restored())
	if err != nil {
		return err
	}
	return r.judge(got, "forward", "lima", "lima-restore")
}

func (r *run) mountpoint() string { return r.home("fuseless", mainVault) }
func (r *run) restored() string   { return r.home("fuseless-restore", mainVault) }

// judge compares with the source, by the tables of permitted losses.
func (r *run) judge(got compare.Tree, tables ...string) error {
	losses, err := compare.LoadLosses(tables...)
	if err != nil {
		return err
	}
	v := losses.For(r.source).Judge(compare.Compare(r.source, got))
	if !v.OK() {
		return different("what came out is not what went in (%s):\n%s", strings.Join(tables, "+"), v)
	}
	words, _, _ := strings.Cut(v.String(), "\n")
	r.fact("%d entries compared by the tables %s: %s", len(r.source.Entries), strings.Join(tables, "+"), words)
	return nil
}

// masterKey notes the vault's master key among the secrets: it passed through
// the guest. gocryptfs prints it in two forms.
func (r *run) masterKey(ctx context.Context) error {
	pass, err := os.Open(r.passFile())
	if err != nil {
		return err
	}
	defer pass.Close()
	var key strings.Builder
	err = proc.Run(ctx, proc.Cmd{
		Argv:  []string{"gocryptfs-xray", "-dumpmasterkey", r.home(mainSource, ".gocryptfs.reverse.conf")},
		Stdin: io.Reader(pass), Stdout: &key,
	})
	if err != nil {
		return err
	}
	hex := strings.TrimSpace(key.String())
	if len(hex) != 64 {
		return different("gocryptfs-xray prints no master key")
	}
	r.secrets["the master key"] = []byte(hex)
	var groups []string
	for i := 0; i < len(hex); i += 8 {
		groups = append(groups, hex[i:i+8])
	}
	r.secrets["the master key, in groups"] = []byte(strings.Join(groups, "-"))
	return nil
}

// remoteKey notes the private key of the remote among the secrets: the lines of
// the file, but for the first two, which begin the same in every key.
func (r *run) remoteKey(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "id_ed25519"))
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i := 2; i+1 < len(lines); i++ {
		r.secrets["the ssh key, line "+strconv.Itoa(i+1)] = []byte(lines[i])
	}
	return nil
}
