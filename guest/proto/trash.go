package proto

import (
	"regexp"
	"strings"
	"time"
)

// MaxTrashNames bounds the names that one listing of the trash gives.
const MaxTrashNames = 10_000

// TrashOptions are what `trash` can be told.
type TrashOptions struct {
	KeepDays int        `json:"keepDays"`        // age at which a backup removes an entry; 0: never
	Names    *TrashPick `json:"names,omitempty"` // list the plaintext names of this entry
}

// TrashPick names one entry of the trash.
type TrashPick struct {
	Text  string    `json:"text"`           // as a person wrote it
	Since time.Time `json:"since,omitzero"` // if Text is a date: the entry whose run began at this time or later ...
	Until time.Time `json:"until,omitzero"` // ... and before this one
}

// TrashResult is what lies in the trash.
type TrashResult struct {
	Runs    []TrashRun `json:"runs"`            // the oldest first
	Foreign int64      `json:"foreign"`         // entries that fuseless did not make, and never removes
	Ahead   string     `json:"ahead,omitempty"` // an entry whose date is to come: as long as there is one, no backup removes anything
}

// TrashRun is what one backup deleted or replaced.
type TrashRun struct {
	Name       string    `json:"name"`                 // of its first folder without a number: what `restore -from` takes
	Time       time.Time `json:"time"`                 // when the run began, by its machine's clock
	Folders    []string  `json:"folders"`              // one for each pass of the run, the first pass first
	Files      int64     `json:"files"`                // of the user: files and symlinks, not folders
	Bytes      int64     `json:"bytes"`                // on the remote, encrypted
	Unreadable int64     `json:"unreadable,omitempty"` // folders that the account on the remote may not list; they are not in the counts
	Expires    time.Time `json:"expires,omitzero"`     // from when on a backup removes it; zero: never
	Changed    time.Time `json:"changed,omitzero"`     // when something last came into it or went, by the clock of whatever stores it

	Names []string `json:"names,omitempty"` // plaintext paths; what cannot be decrypted is there in its encrypted form
	Lost  int64    `json:"lost,omitempty"`  // how many of them could not be decrypted
	More  int64    `json:"more,omitempty"`  // files beyond MaxTrashNames
}

var trashStampRE = regexp.MustCompile(`^(\d{8}T\d{6})(\d{3})?Z(-\d+)?$`)

// TrashStamp reads the name of a folder of the trash: STAMP, or STAMP-N for a
// later pass of the same run. base is the name of the first pass. ok is false
// for a name that no backup gives.
func TrashStamp(name string) (base string, t time.Time, ok bool) {
	m := trashStampRE.FindStringSubmatch(name)
	if m == nil {
		return "", time.Time{}, false
	}
	t, err := time.Parse("20060102T150405", m[1])
	if err != nil {
		return "", time.Time{}, false
	}
	if m[2] != "" {
		ms, _ := time.ParseDuration(m[2] + "ms")
		t = t.Add(ms)
	}
	return strings.TrimSuffix(name, m[3]), t, true
}

// trashDates are the forms in which a person may write a date, each with the
// length of what it means.
var trashDates = []struct {
	layout string
	next   func(time.Time) time.Time
}{
	{"2006-01", func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }},
	{"2006-01-02", func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }},
	{"2006-01-02T15", func(t time.Time) time.Time { return t.Add(time.Hour) }},
	{"2006-01-02T15:04", func(t time.Time) time.Time { return t.Add(time.Minute) }},
	{"2006-01-02T15:04:05", func(t time.Time) time.Time { return t.Add(time.Second) }},
}

// ParseTrashPick reads -from=DATE: the name of an entry, which is in UTC, or
// the beginning of a date and time in the zone loc.
func ParseTrashPick(text string, loc *time.Location) (TrashPick, error) {
	p := TrashPick{Text: text}
	if _, _, ok := TrashStamp(text); ok {
		return p, nil
	}
	for _, d := range trashDates {
		t, err := time.ParseInLocation(d.layout, strings.Replace(text, " ", "T", 1), loc)
		if err == nil {
			p.Since, p.Until = t, d.next(t)
			return p, nil
		}
	}
	return p, Errorf(Config, "%q is no date", text).
		WithHint("`fuseless trash` lists the dates; give a name from its last column, or the beginning of a date, such as 2026-11-20 or 2026-11-20T03:17")
}

// In tells whether p is a date and r is of that date.
func (p TrashPick) In(r TrashRun) bool {
	return !p.Since.IsZero() && !r.Time.Before(p.Since) && r.Time.Before(p.Until)
}

// Empty tells whether an entry has nothing of the user: of a backup that changed
// a folder without replacing or deleting a file there is gocryptfs's own file of
// that folder.
func (r TrashRun) Empty() bool { return r.Files == 0 && r.Unreadable == 0 }

// Folders are the folders that p means, of one run, the first pass first. The
// name of a later pass means that pass alone. The runs that p.In tells must be
// counted: a date does not mean an empty one.
func (p TrashPick) Folders(runs []TrashRun) ([]string, error) {
	var found []TrashRun
	for _, r := range runs {
		if p.Since.IsZero() {
			for _, f := range r.Folders {
				if f == p.Text && f != r.Name {
					return []string{f}, nil
				}
			}
			if r.Name == p.Text {
				found = append(found, r)
			}
		} else if p.In(r) && !r.Empty() {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 1:
		return found[0].Folders, nil
	case 0:
		return nil, Errorf(Config, "the trash has nothing of %s", p.Text).WithHint("`fuseless trash` lists what it has")
	}
	names := make([]string, 0, 6)
	for i, r := range found {
		if i == 5 {
			names = append(names, "...")
			break
		}
		names = append(names, r.Name)
	}
	return nil, Errorf(Config, "the trash has %d entries of %s: %s", len(found), p.Text, strings.Join(names, ", ")).
		WithHint("give one of these names, or more of the date: `fuseless trash` lists them")
}
