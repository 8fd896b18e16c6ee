package screen

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"fuseless/guest/proto"
)

// Damage prints an entry of a vault that is not as it should be.
func (s *Screen) Damage(d *proto.Damage) {
	s.endBar()
	fmt.Fprintf(s.Out, "%s: damaged: %s: %s\n", s.Vault, Quote(d.Path), d.What)
}

// Verify prints the account of a verification: what was checked, and what was
// not.
func (s *Screen) Verify(r *proto.VerifyResult) {
	s.endBar()
	say := func(format string, args ...any) {
		fmt.Fprintf(s.Out, "%s: %s\n", s.Vault, fmt.Sprintf(format, args...))
	}
	if r.Compared {
		how := "names, sizes and times"
		if r.Checksums {
			how += ", and contents by checksums"
		}
		say("compared with the source: %s of the vault, %s, by %s", entries(r.Entries), size(r.Bytes), how)
	} else {
		say("not compared: there is no source")
	}
	if r.Walked {
		say("decrypted: %s", plural(r.Names, "name", "names"))
	}
	if d := r.Read; d != nil {
		say("read and authenticated: %s of %s, %s of %s", humanize.Comma(d.Files), plural(d.AllFiles, "file", "files"), size(d.Bytes), size(d.AllBytes))
		if d.KnownFiles > 0 {
			say("%d %% of the vault was read within the last %s", d.Percent(), plural(int64(d.Days()), "day", "days"))
		}
	}
	if r.Changed > 0 {
		say("not compared: %s changed in the source since the last backup", entries(r.Changed))
	}
	if r.Unchecked > 0 {
		say("not checked: %s could not be read", entries(r.Unchecked))
	}
	contents := ""
	if !r.Checksums && (r.Read == nil || r.Read.Files < r.Read.AllFiles) {
		contents = "; contents were not read"
		if r.Read != nil {
			contents = fmt.Sprintf("; contents of %s were not read this time", plural(r.Read.AllFiles-r.Read.Files, "file", "files"))
		}
	}
	found := "no damage was found in what was checked"
	if r.Damaged > 0 {
		found = entries(r.Damaged) + " damaged or different"
	}
	say("%s%s; %s", found, contents, r.Duration.Round(100*time.Millisecond))
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
