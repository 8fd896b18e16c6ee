package bridge

import (
	"regexp"
	"strings"

	"github.com/kballard/go-shellquote"

	"fuseless/guest/remote"
)

// maxArgs bounds a request; rsync sends about 20 arguments for all that we use.
const maxArgs = 64

// shortOptions are the letters that may stand in rsync's cluster of short
// options. Left out for what they do: s (the arguments follow on standard
// input, past this check), L k K (follow symlinks out of the vault), M, y
// (reads other folders), e (rsync's capability string has a rule of its own).
const shortOptions = "vqbnlHogDtprcduxRWSIOAXz"

// cluster is shortOptions followed by the capabilities of the client, which
// rsync sends as -e: `-vvlogDtpre.iLsfxCIvu` (compat.c, set_capability).
var cluster = regexp.MustCompile(`^-[` + shortOptions + `]*(e[0-9]*\.[A-Za-z]*)?$`)

var (
	none   = (*regexp.Regexp)(nil)
	number = regexp.MustCompile(`^-?[0-9]{1,18}$`)
	word   = regexp.MustCompile(`^[a-z0-9]{1,16}$`)
	flags  = regexp.MustCompile(`^[A-Z0-9,]{1,200}$`)
	format = regexp.MustCompile(`^(X|%o|%i|%i%I)$`)
	stdin  = regexp.MustCompile(`^-$`)
	name   = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.-]{0,100}$`)
	stamp  = regexp.MustCompile(`^[0-9TZ:-]{1,40}$`)
)

// longOptions are the long options that may be sent, with what must follow
// "=". An allow-list: what is not here is refused, so that neither an option
// that runs something or touches other files (--rsh, --log-file, --temp-dir,
// --copy-dest, --write-devices, --remove-source-files, --files-from=FILE, ...)
// nor one of a later rsync gets through.
var longOptions = map[string]*regexp.Regexp{
	"--bwlimit":             number,
	"--checksum-choice":     word,
	"--checksum-seed":       number,
	"--compress-choice":     word,
	"--compress-level":      number,
	"--contimeout":          number,
	"--debug":               flags,
	"--delay-updates":       none,
	"--delete":              none,
	"--delete-after":        none,
	"--delete-before":       none,
	"--delete-delay":        none,
	"--delete-during":       none,
	"--delete-excluded":     none,
	"--existing":            none,
	"--files-from":          stdin, // the list comes over the connection
	"--force":               none,
	"--from0":               none,
	"--fsync":               none,
	"--ignore-existing":     none,
	"--info":                flags,
	"--inplace":             none,
	"--list-only":           none,
	"--log-format":          format,
	"--max-delete":          number,
	"--max-size":            number,
	"--min-size":            number,
	"--mkpath":              none,
	"--modify-window":       number,
	"--new-compress":        none,
	"--no-implied-dirs":     none,
	"--no-r":                none,
	"--no-relative":         none,
	"--no-W":                none,
	"--numeric-ids":         none,
	"--old-compress":        none,
	"--omit-dir-times":      none,
	"--omit-link-times":     none,
	"--open-noatime":        none,
	"--safe-links":          none,
	"--size-only":           none,
	"--stats":               none,
	"--timeout":             number,
	"--whole-file":          none,
	"--no-whole-file":       none,
	"--no-inc-recursive":    none,
	"--no-i-r":              none,
	"--ignore-missing-args": none,
}

// rsyncArgs checks what the guest's rsync would have the remote run, and
// builds the arguments anew from what was understood: nothing of the guest is
// passed on that has not been matched.
func rsyncArgs(r Remote, args []string) ([]string, error) {
	if len(args) == 0 || args[0] != "--server" {
		return nil, refused(strings.Join(args[:min(1, len(args))], ""))
	}
	if len(args) > maxArgs {
		return nil, refused(args[maxArgs])
	}
	out := []string{"--server"}
	rest := args[1:]
	sender := len(rest) > 0 && rest[0] == "--sender"
	if sender {
		out, rest = append(out, rest[0]), rest[1:]
	} else if r.ReadOnly {
		return nil, refused("--server without --sender")
	}
	for len(rest) > 0 && rest[0] != "." {
		var value string
		if len(rest) > 1 {
			value = rest[1]
		}
		opts, used, err := rsyncOption(r, rest[0], value)
		if err != nil {
			return nil, err
		}
		out, rest = append(out, opts...), rest[used:]
	}
	if len(rest) != 2 {
		return nil, refused(strings.Join(rest, " "))
	}
	// Our path ends in a slash, and a receiver refuses names that its own did
	// not ask for ("rejecting unrequested file-list name", rsync 3.2.5).
	if sent := rest[1]; sender && sent != "." && !strings.HasSuffix(sent, "/") {
		return nil, refused(sent + " (after --sender, a path ends in a slash)")
	}
	p, err := rsyncPath(r, rest[1])
	if err != nil {
		return nil, err
	}
	return append(out, ".", p), nil
}

// rsyncOption checks arg, which next follows, and returns what to pass on
// and how many of the two it used.
func rsyncOption(r Remote, arg, next string) (out []string, used int, err error) {
	long, value, hasValue := strings.Cut(arg, "=")
	switch long {
	case "--partial-dir", "--backup-dir": // rsync sends these as two arguments
		used = 1
		if !hasValue {
			value, used = next, 2
		}
		if long == "--partial-dir" {
			if !name.MatchString(value) || value == "." || value == ".." {
				return nil, 0, refused(long + " " + value)
			}
			return []string{long, value}, used, nil
		}
		s, ok := r.inTrash(value)
		if !ok {
			return nil, 0, refused(long + " " + value)
		}
		return []string{long, quote(r.Trash + "/" + s)}, used, nil
	}
	if strings.HasPrefix(arg, "--") {
		pattern, known := longOptions[long]
		if !known || (pattern != none) != hasValue || hasValue && !pattern.MatchString(value) {
			return nil, 0, refused(arg)
		}
		return []string{arg}, 1, nil
	}
	if window, ok := strings.CutPrefix(arg, "-@"); ok && number.MatchString(window) {
		return []string{arg}, 1, nil // --modify-window
	}
	if len(arg) > 1 && cluster.MatchString(arg) {
		return []string{arg}, 1, nil
	}
	return nil, 0, refused(arg)
}

// inTrash returns the stamp of value if that is exactly the trash, a slash and
// a stamp. rsync since 3.2.4 sends spaces and the like with a backslash before
// them (safe_arg in options.c), an older one as they are.
func (r Remote) inTrash(value string) (string, bool) {
	if r.Trash == "" {
		return "", false
	}
	for _, v := range []string{value, unescape(value)} {
		if s, ok := strings.CutPrefix(v, r.Trash+"/"); ok && stamp.MatchString(s) {
			return s, true
		}
	}
	return "", false
}

func unescape(s string) string {
	words, err := shellquote.Split(s)
	if err != nil || len(words) != 1 {
		return s
	}
	return words[0]
}

// rsyncPath is the path to pass on for the one that the guest sent. That one
// only tells the vault from its trash.
func rsyncPath(r Remote, sent string) (string, error) {
	if !strings.HasPrefix(sent, "@") {
		return folder(r.Path), nil
	}
	p := strings.TrimSuffix(sent, "/")
	if r.Trash != "" && p == remote.TrashPath {
		return folder(r.trashFolder()), nil
	}
	if s, ok := strings.CutPrefix(p, remote.TrashPath+"/"); ok && r.Trash != "" && stamp.MatchString(s) {
		return folder(r.trashFolder() + "/" + s), nil
	}
	return "", refused(sent)
}
