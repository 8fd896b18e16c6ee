package remote

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"fuseless/guest/proto"
)

// SocketVariable names the environment variable with the path of the bridge's
// socket.
const SocketVariable = "FUSELESS_REMOTE"

// ApartVariable names an environment variable which, if it is not empty, makes
// the remote's rsync complete a partial file in a copy and not in its place.
const ApartVariable = "FUSELESS_APART"

// Command is `fuseless-guest dial`: sshfs's ssh_command and rsync's -e. args
// are those of ssh, as these two pass them; options and destination in them
// have no effect, as the host alone chooses both. It copies between the
// session and stdin, stdout, stderr, and returns the remote command's exit
// status, or ExitLost as ssh does.
func Command(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	req, err := parseSSH(args)
	if err != nil {
		fmt.Fprintf(stderr, "fuseless: %v\n", err)
		return ExitLost
	}
	if os.Getenv(ApartVariable) != "" {
		req.Args = apart(req.Args)
	}
	socket := os.Getenv(SocketVariable)
	if socket == "" {
		fmt.Fprintf(stderr, "fuseless: %s is not set\n", SocketVariable)
		return ExitLost
	}
	conn, err := Dial(ctx, socket, req, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "fuseless: %v\n", err)
		return ExitLost
	}
	defer conn.Close()

	go func() {
		// Ends with stdin, or with the connection; a read of stdin that blocks
		// for ever does not keep the command from ending. A failed write must
		// not close the connection: the exit may still be on its way.
		_ = copyBytes(conn, stdin)
		_ = conn.CloseWrite()
	}()
	if err := copyBytes(stdout, conn); err != nil && conn.ended() == nil {
		// stdout broke, or the connection did; Wait would read on.
		conn.Close()
	}
	code, err := conn.Wait()
	if err != nil {
		fmt.Fprintf(stderr, "fuseless: %v\n", err)
	}
	return code
}

// ended is the exit, once it has come.
func (c *Conn) ended() *Exit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exit
}

// copyBytes is io.Copy with our buffer, whatever dst and src offer.
func copyBytes(dst io.Writer, src io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, bufferSize))
	return err
}

// parseSSH tells what the ssh command line args asks for.
//
//	sshfs 3.7.3:  -x -a -oClearAllForwardings=yes ... -2 -s -- user@host sftp
//	older sshfs:  -x -a -oClearAllForwardings=yes ... -2 user@host -s sftp
//	rsync:        [-l user] host rsync --server ...
func parseSSH(args []string) (Request, error) {
	if n := len(args); n >= 2 && args[n-1] == "sftp" && slices.Contains(args[:n-1], "-s") {
		return Request{Service: ServiceSFTP}, nil
	}
	for i := 0; i+1 < len(args); i++ {
		if args[i] == "rsync" && args[i+1] == "--server" {
			return Request{Service: ServiceRsync, Args: args[i+1:]}, nil
		}
	}
	return Request{}, proto.Errorf(proto.Internal, "only the sftp subsystem and rsync --server can be asked for, not %q", args)
}

// capabilities is what rsync's client can, at the end of its short options. I
// is to complete a partial file in its place (rsync's compat.c); the server does
// what it is told of, and tells the client.
var capabilities = regexp.MustCompile(`^(-[A-Za-z]*e[0-9]*\.)([A-Za-z]*)$`)

func apart(args []string) []string {
	args = slices.Clone(args)
	for i, a := range args {
		if m := capabilities.FindStringSubmatch(a); m != nil {
			args[i] = m[1] + strings.ReplaceAll(m[2], "I", "")
		}
	}
	return args
}
