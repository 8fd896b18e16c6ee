package webdav

import (
	"container/list"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/text/unicode/norm"
)

const (
	// absenceAge is for how long the listing of a folder, which an Ahead may have had
	// for a while, says what is not in it. A view of a backup changes only by our own backup.
	absenceAge = 10 * time.Second
	// absencesMax bounds the memory, in bytes as cost counts them.
	absencesMax = 1 << 20
	// absencesOneMax bounds that of one folder: beyond it, nothing is known of it.
	absencesOneMax = absencesMax / 16
)

// absences knows which of the names that macOS looks for everywhere are not in
// the folders that were listed lately, so that no look for them goes over
// the link: Finder asks for `._NAME` beside each NAME, and a stat of a name that
// is missing is a round trip through gocryptfs and sshfs each time.
//
// It knows nothing of any other name, and never that something is there: for
// these the file system is asked.
type absences struct {
	now func() time.Time

	mu      sync.Mutex
	folders map[string]*list.Element // by the name that was asked for
	oldest  list.List                // of *listed, the newest last
	size    int                      // sum of the costs
}

// listed is a folder as its listing had it.
type listed struct {
	folder string
	at     time.Time // no later than when it was read
	probes []string  // those in it, NFC, sorted
}

func newAbsences(now func() time.Time) *absences {
	return &absences{now: now, folders: map[string]*list.Element{}}
}

// probed reports whether macOS looks for base without having seen it listed.
func probed(base string) bool {
	return strings.HasPrefix(base, "._") || probedNames[base]
}

// probedNames are what Finder, Spotlight, Time Machine and the frameworks look
// for in each folder, or in the root of a volume.
var probedNames = map[string]bool{
	".DS_Store": true, ".localized": true, ".hidden": true, "Icon\r": true,
	".metadata_never_index": true, ".metadata_never_index_unless_rootfs": true, ".metadata_direct_scope_only": true,
	".Spotlight-V100": true, ".Trashes": true, ".Trash": true, ".fseventsd": true, ".TemporaryItems": true, ".DocumentRevisions-V100": true,
	".VolumeIcon.icns": true, ".apdisk": true, ".com.apple.timemachine.donotpresent": true, ".com.apple.timemachine.supported": true,
}

// time is the time now, to be given to listed.
func (a *absences) time() time.Time {
	if a == nil {
		return time.Time{}
	}
	return a.now()
}

// listed notes what was in the folder, whose reading began at the time at.
func (a *absences) listed(folder string, at time.Time, infos []fs.FileInfo) {
	if a == nil {
		return
	}
	l := &listed{folder: strings.Clone(folder), at: at}
	cost := l.cost()
	for _, fi := range infos {
		if n := fi.Name(); probed(n) && cost <= absencesOneMax {
			// In one form, as the file system is asked for each of them.
			n = strings.Clone(norm.NFC.String(n))
			l.probes = append(l.probes, n)
			cost += costOf(n)
		}
	}
	slices.Sort(l.probes)
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.folders[folder]; e != nil {
		a.forget(e)
	}
	if cost > absencesOneMax {
		return
	}
	for e := a.oldest.Front(); e != nil && (a.size+cost > absencesMax || !a.fresh(e.Value.(*listed))); e = a.oldest.Front() {
		a.forget(e)
	}
	a.folders[l.folder] = a.oldest.PushBack(l)
	a.size += cost
}

func (a *absences) forget(e *list.Element) {
	l := a.oldest.Remove(e).(*listed)
	delete(a.folders, l.folder)
	a.size -= l.cost()
}

// cost is about the memory that l takes, in bytes: list element, map entry and
// struct are 300.
func (l *listed) cost() int {
	n := 300 + len(l.folder)
	for _, p := range l.probes {
		n += costOf(p)
	}
	return n
}

// costOf counts, besides the bytes of a name, its header, and as much again for
// what append and the allocator leave unused.
func costOf(name string) int { return len(name) + 48 }

// fresh goes by the wall clock too: the monotonic one stands still while the
// machine sleeps, and the wall clock may be set back.
func (a *absences) fresh(l *listed) bool {
	now := a.now()
	age, wall := now.Sub(l.at), now.Round(0).Sub(l.at.Round(0))
	return age >= 0 && age < absenceAge && wall >= 0 && wall < absenceAge
}

// has reports whether name is known not to exist, since it is, or lies in, a
// name that macOS looks for and that its folder was listed without.
func (a *absences) has(name string) bool {
	if a == nil {
		return false
	}
	for start := 0; start < len(name); {
		end := len(name)
		if i := strings.IndexByte(name[start:], '/'); i >= 0 {
			end = start + i
		}
		if base := name[start:end]; probed(base) && a.missing(name[:max(0, start-1)], base) {
			return true
		}
		start = end + 1
	}
	return false
}

func (a *absences) missing(folder, base string) bool {
	if folder == "" {
		folder = "."
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.folders[folder]
	if e == nil || !a.fresh(e.Value.(*listed)) {
		return false
	}
	_, there := slices.BinarySearch(e.Value.(*listed).probes, norm.NFC.String(base))
	return !there
}
