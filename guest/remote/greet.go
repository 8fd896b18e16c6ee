package remote

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"

	"fuseless/guest/proto"
)

// The least and the highest that can be a version of rsync's protocol: 3.1
// speaks 31, 3.4 speaks 32. A remote whose shell prints a greeting of its own
// sends four letters instead.
const leastProtocol, highestProtocol = 20, 100

// Greet has the remote start its rsync, and returns the version of the protocol
// that it offers. It sends that first of all, as a little-endian integer
// (rsync's compat.c, setup_protocol). `rsync --version` is not to be had: a
// storage box runs `rsync --server` and nothing else. The rsync there is told to
// send the vault, and is left before it has read anything of it.
//
// target and command are as for Explain. The errors have code proto.Remote,
// mostly.
func Greet(ctx context.Context, socket, target, command string) (protocol int, err error) {
	var said bytes.Buffer
	conn, err := Dial(ctx, socket, Request{
		Service: ServiceRsync, Args: []string{"--server", "--sender", "-logDtpre.iLsfxCIvu", ".", "."},
	}, &said)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var greeting [4]byte
	if _, err := io.ReadFull(conn, greeting[:]); err != nil {
		code, werr := conn.Wait()
		switch e := Explain(said.String(), code, target, command); {
		case ctx.Err() != nil:
			return 0, proto.Errorf(proto.Remote, "the remote's rsync does not answer").
				WithHint("try again; if it stays so, ask the remote's operator")
		case werr != nil: // the host has explained it
			return 0, werr
		case e != nil:
			return 0, e
		}
		return 0, proto.Errorf(proto.Remote, "the remote's rsync ended with status %d and without a word", code).
			WithHint("install rsync there")
	}
	version := binary.LittleEndian.Uint32(greeting[:])
	if version < leastProtocol || version > highestProtocol {
		return 0, proto.Errorf(proto.Remote, "the remote prints something before its rsync can begin: %q...", greeting[:]).
			WithHint("let the shell there print nothing where it is not interactive (.bashrc and the like)")
	}
	return int(version), nil
}
