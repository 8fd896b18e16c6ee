package hostmount

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"fuseless/guest/proto"

	"github.com/google/renameio/v2"
)

// canonical is the path of the mountpoint as the mount table has it: absolute,
// without symbolic links. It never stats the mountpoint itself, which would
// block on a dead server; readlink stops at the directory entry.
func canonical(path string) (string, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) == "/" || strings.ContainsAny(path, "\n\x00") {
		return "", proto.Errorf(proto.Config, "not a mountpoint: %q", path).WithHint("it must be an absolute path")
	}
	path = filepath.Clean(path)
	for range 40 {
		dir, err := resolve(filepath.Dir(path))
		if err != nil {
			return "", proto.Errorf(proto.Mount, "mountpoint %s: %w", path, err)
		}
		path = filepath.Join(dir, filepath.Base(path))
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = filepath.Clean(target)
	}
	return "", proto.Errorf(proto.Mount, "mountpoint %s: too many symbolic links", path)
}

// resolve is filepath.EvalSymlinks for a path whose end may not exist yet.
func resolve(dir string) (string, error) {
	r, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) && dir != "/" {
		parent, err := resolve(filepath.Dir(dir))
		return filepath.Join(parent, filepath.Base(dir)), err
	}
	return r, err
}

// prepare makes sure that path, on which nothing is mounted, is an empty
// folder, and says whether it made it.
func prepare(path string) (made bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, proto.Errorf(proto.Mount, "mountpoint: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err == nil {
		return true, nil
	} else if !errors.Is(err, fs.ErrExist) {
		return false, proto.Errorf(proto.Mount, "mountpoint: %w", err)
	}
	fi, err := os.Lstat(path)
	if err != nil {
		return false, proto.Errorf(proto.Mount, "mountpoint: %w", err)
	}
	if !fi.IsDir() {
		return false, proto.Errorf(proto.Mount, "mountpoint %s is not a folder", path).
			WithHint("move it away, or set another mountpoint")
	}
	f, err := os.Open(path)
	if err != nil {
		return false, proto.Errorf(proto.Mount, "mountpoint: %w", err)
	}
	defer f.Close()
	switch names, err := f.Readdirnames(1); {
	case len(names) > 0:
		return false, proto.Errorf(proto.Mount, "mountpoint %s is not empty", path).
			WithHint("a mount would hide what is in it; move it away, or set another mountpoint")
	case err != io.EOF:
		return false, proto.Errorf(proto.Mount, "mountpoint: %w", err)
	}
	return false, nil
}

// record is what is remembered of a mount, in the runtime folder. The mount
// table says what is mounted; the record only adds which session made it and
// who made its folder.
type record struct {
	URL        string `json:"url"`
	Mountpoint string `json:"mountpoint"`
	ReadOnly   bool   `json:"readOnly"`
	Made       bool   `json:"made"` // Mount made the mountpoint
	Salt       string `json:"salt"`
	Session    string `json:"session"` // HMAC-SHA256 of user and password under Salt
}

// same says whether spec is the session that rec remembers.
func (rec record) same(spec Spec) bool {
	return sameURL(rec.URL, spec.URL) && rec.ReadOnly == spec.ReadOnly &&
		hmac.Equal([]byte(rec.Session), []byte(session(rec.Salt, spec)))
}

func session(salt string, spec Spec) string {
	h := hmac.New(sha256.New, []byte(salt))
	fmt.Fprintf(h, "%s:%s", spec.User, spec.Password)
	return hex.EncodeToString(h.Sum(nil))
}

// key names what belongs to a mountpoint in folders that several share.
func key(mountpoint string) string {
	h := sha256.Sum256([]byte(mountpoint))
	return hex.EncodeToString(h[:8])
}

func recordFile(spec Spec) string {
	return filepath.Join(spec.RuntimeDir, "hostmount-"+key(spec.Mountpoint)+".json")
}

func loadRecord(spec Spec) (rec record, ok bool) {
	b, err := os.ReadFile(recordFile(spec))
	if err != nil || json.Unmarshal(b, &rec) != nil || rec.Mountpoint != spec.Mountpoint {
		return record{}, false
	}
	return rec, true
}

func saveRecord(spec Spec, made bool) error {
	rec := record{URL: spec.URL, Mountpoint: spec.Mountpoint, ReadOnly: spec.ReadOnly, Made: made, Salt: rand.Text()}
	rec.Session = session(rec.Salt, spec)
	b, err := json.Marshal(rec)
	if err == nil {
		err = os.MkdirAll(spec.RuntimeDir, 0o700)
	}
	if err == nil {
		err = renameio.WriteFile(recordFile(spec), b, 0o600, renameio.IgnoreUmask())
	}
	if err != nil {
		return proto.Errorf(proto.Mount, "remembering the mount: %w", err)
	}
	return nil
}

func removeRecord(spec Spec) error {
	if err := os.Remove(recordFile(spec)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return proto.Errorf(proto.Mount, "forgetting the mount: %w", err)
	}
	return nil
}
