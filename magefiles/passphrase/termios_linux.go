package passphrase

import "golang.org/x/sys/unix"

const (
	getTermios      = unix.TCGETS
	setTermios      = unix.TCSETS
	setTermiosFlush = unix.TCSETSF

	// lineMax is the longest line that the terminal passes on, without its
	// newline; the rest of a longer one is dropped silently (termios(3): 4096
	// bytes with the newline).
	lineMax = 4095
)
