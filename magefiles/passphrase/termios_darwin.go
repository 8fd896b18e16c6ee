package passphrase

import "golang.org/x/sys/unix"

const (
	getTermios      = unix.TIOCGETA
	setTermios      = unix.TIOCSETA
	setTermiosFlush = unix.TIOCSETAF

	// lineMax is the longest line that the terminal passes on, without its
	// newline; the rest of a longer one is dropped (MAX_CANON is 1024).
	lineMax = 1023
)
