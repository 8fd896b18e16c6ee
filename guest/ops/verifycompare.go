//go:build linux

package ops

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"fuseless/guest/gocryptfs"
	"fuseless/guest/rsync"
)

// differences is what waits until the comparison is over: whether an entry is
// damaged depends on what became of the folder that it is in.
type differences struct {
	gone    map[string]bool     // encrypted paths of folders, and of files with long names, that the vault lacks
	pending map[string]*waiting // by folder
	own     map[string]string   // what is wrong with gocryptfs's own file of a folder or of a long name
}

// waiting are entries that the vault lacks, and that are new if the folder they
// are in is new.
type waiting struct {
	count    int64
	examples []string
}

func (d *differences) init() {
	d.gone, d.pending, d.own = map[string]bool{}, map[string]*waiting{}, map[string]string{}
}

// Files that are in a vault's folder and are none of the vault's.
var notOfVault = []string{"- " + rsync.PartialDir + "/", "- /.fuseless-probe-*"}

// compare compares the vault with the image of the source: a dry run of rsync
// from the vault into the image, which tells the differences both ways. The
// image is deterministic, so a name that is the same on both sides decrypts, if
// the directory IVs and long names are the same, too; these are small, and
// always compared by their contents.
func (v *verify) compare(ctx context.Context) error {
	v.result.Compared, v.result.Checksums = true, v.Verify.Full
	config := "- /" + gocryptfs.ConfigName // it has been judged
	var main, own *rsync.Result
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		run := v.comparison()
		run.Checksum = v.Verify.Full
		run.Filters = append(run.Filters, config)
		if !v.Verify.Full {
			// Hidden from the vault's side only: what is protected here would keep rsync
			// from telling that a folder is missing there.
			run.Filters = append(run.Filters, "H gocryptfs.diriv", "H gocryptfs.longname.*.name")
			run.OnChange = v.only(run.OnChange, false)
		}
		if run.Checksum {
			run.Timeout = time.Hour // whole files are read before anything is said
		}
		main, err = run.Do(gctx)
		return err
	})
	if !v.Verify.Full {
		g.Go(func() (err error) {
			run := v.comparison()
			run.Checksum = true
			run.Filters = append(run.Filters, config, "+ */", "+ gocryptfs.diriv", "+ gocryptfs.longname.*.name", "- *")
			run.OnChange = v.only(run.OnChange, true)
			own, err = run.Do(gctx)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := v.image.Check(); err != nil {
		return err
	}
	v.result.Entries, v.result.Bytes = main.Stats.Files, main.Stats.Size
	v.settle()
	faults := 0
	for _, res := range []*rsync.Result{main, own} {
		if res == nil {
			continue
		}
		for _, l := range res.Errors {
			if !strings.HasPrefix(l, "skipping non-regular file") && !v.excludedNow(l) {
				v.unchecked((&backup{run: v.run, image: v.image, names: v.names}).readable(l))
				faults++
			}
		}
		if res.Code != 0 && faults == 0 && len(res.Errors) == 0 && len(res.Conflicts) == 0 && !res.Skipped {
			v.unchecked("rsync could not compare everything, and did not say why")
		}
	}
	return nil
}

// only passes on what concerns gocryptfs's own files, or what does not.
func (v *verify) only(on func(what, enc string), own bool) func(what, enc string) {
	return func(what, enc string) {
		if gocryptfs.Virtual(enc) == own {
			on(what, enc)
		}
	}
}

// excludedNow tells whether one of rsync's messages is about an entry that is
// excluded, and was not when it was sent: gocryptfs answers EPERM for these.
func (v *verify) excludedNow(l string) bool {
	_, rest, _ := strings.Cut(l, "\"")
	p, _, ok := strings.Cut(rest, "\"")
	if !ok || !strings.HasPrefix(p, v.image.Path+"/") {
		return false
	}
	_, err := os.Lstat(p)
	return errors.Is(err, syscall.EPERM)
}

// readable is one of rsync's messages with the plaintext path.
func (b *backup) readable(l string) string {
	what, where := b.plain(l)
	if where == "" {
		return what
	}
	return where + ": " + what
}

func (v *verify) comparison() rsync.Run {
	run := rsync.Run{
		Source: v.Destination.Path + "/", Target: v.image.Path + "/", Compare: true, DryRun: true, Delete: true, MaxDelete: -1, Force: true,
		NoHardLinks: true, NoLinkTimes: true, Seconds: v.wholeSeconds(), Filters: append([]string{}, notOfVault...),
		OnChange: func(what, enc string) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.differs(what, strings.TrimSuffix(enc, "/"))
		},
	}
	if !v.Destination.Local {
		run.Source = "fuseless:vault/"
		run.Dial, run.Socket, run.Explain = v.dial, v.Destination.Socket, v.explain
	}
	return run
}

// differs judges one difference. v.mu is held.
func (v *verify) differs(what, enc string) {
	if enc == "." || strings.HasPrefix(path.Base(enc), ".fuseless-") {
		return
	}
	fi, err := os.Lstat(filepath.Join(v.image.Path, enc))
	here := err == nil
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EPERM):
		v.result.Unchecked++ // not even its state is to be had
	case errors.Is(err, syscall.EPERM): // excluded, after it was sent
	case what == "*deleting":
		v.onlyHere(enc, fi)
	case strings.Contains(what, "+++"):
		switch {
		case here && gocryptfs.Virtual(enc):
			v.ownFile(enc, "is something of another kind")
		case here:
			v.unlessSince(fi, enc, "is something of another kind in the vault")
		default:
			v.onlyThere(enc)
		}
	case len(what) < 5 || what[1] == 'd':
	case gocryptfs.Virtual(enc):
		if what[2] == 'c' || what[3] == 's' {
			v.ownFile(enc, "is damaged")
		}
	case !here:
		v.result.Changed++ // it has just been removed
	default:
		timed := what[4] == 't' || what[4] == 'T'
		text := differing(what)
		if timed || what[1] == 'L' || v.wholeSeconds() {
			v.unlessSince(fi, enc, text)
		} else if st := fi.ModTime(); !st.Before(v.started) {
			v.result.Changed++
		} else {
			// The vault has this very version, by its time, and yet it is another.
			v.name(enc, text)
		}
	}
}

// differing says in words what rsync's itemised change says.
func differing(what string) string {
	if what[1] == 'L' {
		return "is a link to something else in the vault"
	}
	var parts []string
	for i, word := range []string{"contents", "size", "time"} {
		if c := what[2+i]; c != '.' && c != ' ' {
			parts = append(parts, word)
		}
	}
	return "differs in the vault: " + strings.Join(parts, ", ")
}

// unlessSince names an entry of which the source has not changed since the last
// backup.
func (v *verify) unlessSince(fi fs.FileInfo, enc, what string) {
	if v.since(fi) {
		v.result.Changed++
		return
	}
	v.name(enc, what)
}

func (v *verify) name(enc, what string) {
	p, _ := v.plain(enc)
	v.report(p, what)
}

// ownFile keeps what is wrong with one of gocryptfs's own files, by whom it
// serves: a folder, or a long name.
func (v *verify) ownFile(enc, what string) {
	base := path.Base(enc)
	if owner, ok := strings.CutSuffix(enc, ".name"); ok {
		v.diff.own[owner] = "its long name cannot be decrypted: the file that holds it " + what
		return
	}
	v.diff.own[path.Dir(enc)] = "the names in this folder cannot be decrypted: its " + base + " " + what
}

// onlyHere is an entry that the vault lacks.
func (v *verify) onlyHere(enc string, fi fs.FileInfo) {
	switch {
	case fi == nil:
		v.result.Changed++ // it has just been removed
		return
	case gocryptfs.Virtual(enc):
		v.ownFile(enc, "is missing")
		return
	case fi.Mode()&(fs.ModeNamedPipe|fs.ModeSocket|fs.ModeDevice) != 0:
		return // a backup leaves it out
	}
	if fi.IsDir() || strings.HasPrefix(path.Base(enc), "gocryptfs.longname.") {
		v.diff.gone[enc] = true
	}
	if v.since(fi) {
		v.result.Changed++
		return
	}
	// What is in a folder that was moved keeps its own times.
	for dir := path.Dir(enc); dir != "."; dir = path.Dir(dir) {
		if di, err := os.Lstat(filepath.Join(v.image.Path, dir)); err != nil || !v.since(di) {
			continue
		}
		w := v.diff.pending[dir]
		if w == nil {
			w = &waiting{}
			v.diff.pending[dir] = w
		}
		if w.count++; len(w.examples) < maxNamed {
			w.examples = append(w.examples, enc)
		}
		return
	}
	v.name(enc, missing)
}

const missing = "is missing in the vault"

// settle judges what waited for the end of the comparison.
func (v *verify) settle() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for dir, w := range v.diff.pending {
		if v.diff.gone[dir] {
			v.result.Changed += w.count
			continue
		}
		for _, enc := range w.examples {
			v.name(enc, missing)
		}
		v.result.Damaged += w.count - int64(len(w.examples))
	}
	for owner, what := range v.diff.own {
		if !v.diff.gone[owner] {
			v.name(owner, what)
		}
	}
}

// onlyThere is an entry that the image lacks.
func (v *verify) onlyThere(enc string) {
	if gocryptfs.Virtual(enc) {
		return // of an entry that is there, too, or of nothing
	}
	plain, ok := v.plain(enc)
	if !ok && !strings.HasPrefix(path.Base(enc), "gocryptfs.longname.") {
		v.report(plain, "is not the name of a file of this vault")
		return
	}
	if ok {
		if _, err := os.Lstat(filepath.Join(v.Source, plain)); err == nil {
			return // excluded, after it was sent
		}
	}
	for dir := path.Dir(enc); ; dir = path.Dir(dir) {
		fi, err := os.Lstat(filepath.Join(v.image.Path, dir))
		if err != nil && dir != "." {
			continue // it is gone as well
		}
		if err == nil && v.since(fi) {
			v.result.Changed++ // something was removed from there
			return
		}
		break
	}
	v.report(plain, "is in the vault, and not in the source")
}
