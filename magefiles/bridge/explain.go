package bridge

import (
	"fuseless/guest/proto"
	"fuseless/guest/remote"
)

// Explain is remote.Explain for r.
func Explain(stderr string, exit int, r Remote) *proto.Error {
	return remote.Explain(stderr, exit, r.Target, r.Port)
}
