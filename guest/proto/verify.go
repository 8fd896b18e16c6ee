package proto

import "time"

// OpVerify compares the vault with the source, and reads what is in it.
const OpVerify Op = "verify"

// The steps of `verify`.
const (
	StepCompare Step = "compare" // names, sizes and times, or contents, against the image of the source
	StepRead    Step = "read"    // names and contents, by decrypting them
)

// KindDamage is an event that names one entry of the vault that is not as it
// should be.
const KindDamage Kind = "damage"

// VerifyOptions are what `verify` can be told.
type VerifyOptions struct {
	Data   bool      `json:"data,omitempty"`   // read and authenticate the contents
	Full   bool      `json:"full,omitempty"`   // compare contents with the source by checksums
	Share  int       `json:"share,omitempty"`  // with Data: per cent of the vault to read, 1 to 100
	Config []byte    `json:"config,omitempty"` // the source's .gocryptfs.reverse.conf, or a copy; empty: there is only the vault's own
	Last   []byte    `json:"last,omitempty"`   // the configuration that the vault had after the last backup
	Since  time.Time `json:"since,omitzero"`   // when the last backup that succeeded began; zero: unknown
}

// Damage is an entry of the vault that is not as it should be.
type Damage struct {
	Path []byte `json:"path"` // plaintext, relative to the source; bytes, since names need not be UTF-8
	What string `json:"what"`
}

// VerifyResult is what a verification did, and did not do. Sizes are in bytes.
type VerifyResult struct {
	Compared  bool  `json:"compared"`            // with the source
	Checksums bool  `json:"checksums,omitempty"` // and contents, too
	Entries   int64 `json:"entries"`             // of the vault that were compared
	Bytes     int64 `json:"bytes"`               // their size, of ciphertext

	Walked bool        `json:"walked,omitempty"` // all names were decrypted
	Names  int64       `json:"names,omitempty"`  // that decrypted
	Read   *VerifyRead `json:"read,omitempty"`   // with -data

	Damaged   int64 `json:"damaged"`             // entries that were named
	Changed   int64 `json:"changed,omitempty"`   // in the source since the last backup: they say nothing about the vault
	Unchecked int64 `json:"unchecked,omitempty"` // could not be read, here or there

	Duration time.Duration `json:"durationNs"`
}

// VerifyRead is what was read and authenticated. Sizes are in bytes of
// plaintext.
type VerifyRead struct {
	Files      int64         `json:"files"` // in this run
	Bytes      int64         `json:"bytes"`
	AllFiles   int64         `json:"allFiles"` // in the vault
	AllBytes   int64         `json:"allBytes"`
	KnownFiles int64         `json:"knownFiles"` // read well by this run or an earlier one, and unchanged since
	KnownBytes int64         `json:"knownBytes"`
	Oldest     time.Duration `json:"oldestNs"` // since the earliest of these readings
}

// Percent is the part of the vault that was read, by this run or an earlier
// one, by size; by number where nothing has a size. 100 is said of all only.
func (r *VerifyRead) Percent() int {
	switch {
	case r.KnownFiles == r.AllFiles:
		return 100
	case r.AllBytes == 0:
		return min(int(r.KnownFiles*100/r.AllFiles), 99)
	}
	return min(int(float64(r.KnownBytes)/float64(r.AllBytes)*100), 99)
}

// Days is within how many days that was.
func (r *VerifyRead) Days() int { return int(max(r.Oldest, 0)/(24*time.Hour)) + 1 }
