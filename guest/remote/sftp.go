package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pkg/sftp"

	"fuseless/guest/proto"
)

// closeTimeout bounds the wait for the remote sftp-server to end.
const closeTimeout = 3 * time.Second

// SFTP begins an sftp session. The closer ends the client and its connection;
// it may be called more than once. An error says why the host's ssh failed,
// not only that the connection ended.
func SFTP(ctx context.Context, socket string, stderr io.Writer) (*sftp.Client, io.Closer, error) {
	conn, err := Dial(ctx, socket, Request{Service: ServiceSFTP}, stderr)
	if err != nil {
		return nil, nil, err
	}
	client, err := sftp.NewClientPipe(conn, halfCloser{conn})
	if err != nil {
		_, werr := conn.Wait()
		conn.Close()
		if werr != nil {
			return nil, nil, werr
		}
		return nil, nil, proto.Errorf(proto.Remote, "begin sftp: %w", err)
	}
	return client, &sftpCloser{client: client, conn: conn}, nil
}

// halfCloser closes a connection's writing half only: the sftp client closes
// its pipe and then waits for the server to end.
type halfCloser struct{ *Conn }

func (h halfCloser) Close() error { return h.CloseWrite() }

type sftpCloser struct {
	once   sync.Once
	client *sftp.Client
	conn   *Conn
	err    error
}

func (s *sftpCloser) Close() error {
	s.once.Do(func() {
		// The client's Close waits for the remote to end, which one that does
		// not answer never does.
		t := time.AfterFunc(closeTimeout, func() { s.conn.Close() })
		_ = s.client.Close()
		t.Stop()
		s.err = s.conn.Close()
		if errors.Is(s.err, net.ErrClosed) {
			s.err = nil
		}
	})
	return s.err
}
