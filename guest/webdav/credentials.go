package webdav

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"fuseless/guest/proto"
)

const credentialsMax = 4096 // bytes of the line; what a pipe takes without a reader (pipe(7))

// readCredentials reads the one line user:password from file, which must have
// mode 0600: what others can read is no secret. /dev/fd/N is the descriptor N itself,
// closed afterwards so that nothing can read it a second time; a pipe has mode 0600.
func readCredentials(file string) (user, password string, err error) {
	bad := func(format string, args ...any) (string, string, error) {
		return "", "", proto.Errorf(proto.Config, "credentials %s: %w", file, fmt.Errorf(format, args...))
	}
	f, err := openCredentials(file)
	if err != nil {
		return bad("%w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return bad("%w", err)
	}
	if fi.IsDir() {
		return bad("is a folder")
	}
	if m := fi.Mode().Perm(); m != 0o600 {
		return "", "", proto.Errorf(proto.Config, "credentials %s: the mode is %04o, not 0600", file, m).WithHint("chmod 600 %s", file)
	}
	// Up to the end of the line, so as not to wait for a writer that keeps the pipe open.
	r := bufio.NewReaderSize(f, credentialsMax)
	b, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return bad("the line exceeds %d bytes", credentialsMax)
	case err != nil && err != io.EOF:
		return bad("%w", err)
	case r.Buffered() > 0:
		return bad("more than one line")
	}
	user, password, ok := strings.Cut(strings.TrimRight(string(b), "\r\n"), ":")
	if !ok || user == "" || password == "" {
		return bad("not a line user:password")
	}
	return user, password, nil
}

func openCredentials(file string) (*os.File, error) {
	n, ok := strings.CutPrefix(file, "/dev/fd/")
	if !ok {
		return os.Open(file)
	}
	fd, err := strconv.ParseUint(n, 10, 31)
	if err != nil {
		return nil, errors.New("not a file descriptor")
	}
	f := os.NewFile(uintptr(fd), file)
	if f == nil {
		return nil, errors.New("not an open file descriptor")
	}
	return f, nil
}
