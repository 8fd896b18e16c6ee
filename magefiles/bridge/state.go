package bridge

import (
	"encoding/json"
	"os"

	"github.com/google/renameio/v2"

	"fuseless/guest/proc"
	"fuseless/guest/proto"
)

// state is the file beside a daemon's socket. It is a hint only: pid and start
// time together name a process, and are checked against the process table.
type state struct {
	PID    int    `json:"pid"`
	Start  uint64 `json:"start"` // proc.StartTime of PID
	Remote Remote `json:"remote"`
	VM     *VM    `json:"vm,omitempty"`
}

// StatePath is the state file of the daemon that listens on socket.
func StatePath(socket string) string { return socket + ".json" }

func writeState(socket string, r Remote, vm *VM) error {
	start, err := proc.StartTime(os.Getpid())
	if err != nil {
		return proto.Errorf(proto.Internal, "start time of this process: %w", err)
	}
	b, err := json.Marshal(state{PID: os.Getpid(), Start: start, Remote: r, VM: vm})
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(StatePath(socket), append(b, '\n'), 0o600); err != nil {
		return proto.Errorf(proto.Internal, "%w", err)
	}
	return nil
}

// readState is the state of the daemon on socket; ok is false if there is no
// file or its process has ended.
func readState(socket string) (s state, ok bool) {
	b, err := os.ReadFile(StatePath(socket))
	if err != nil || json.Unmarshal(b, &s) != nil {
		return state{}, false
	}
	return s, s.alive()
}

// alive tells whether the process still is the one of the state.
func (s state) alive() bool {
	if s.PID <= 1 || s.Start == 0 {
		return false
	}
	start, err := proc.StartTime(s.PID)
	return err == nil && start == s.Start
}

// removeState removes the state file if it is that of the process pid.
func removeState(socket string, pid int) {
	var s state
	b, err := os.ReadFile(StatePath(socket))
	if err != nil || json.Unmarshal(b, &s) != nil || s.PID != pid {
		return
	}
	_ = os.Remove(StatePath(socket))
}
