//go:build linux

package ops

import (
	"path/filepath"

	"fuseless/guest/mounts"
	"fuseless/guest/proto"
	"fuseless/guest/rundir"
)

// status reports what the kernel's mount table and the process table say. It
// never touches a mount, so it cannot hang.
func (r *run) status() error {
	s := proto.Status{RunsDir: r.dir}
	for _, m := range []struct {
		name string
		to   **proto.MountStatus
	}{{"remote", &s.Remote}, {"view", &s.View}} {
		there, alive, pid, err := r.mounted(m.name)
		if err != nil {
			return err
		}
		if there {
			*m.to = &proto.MountStatus{Path: r.file(m.name), Pid: pid, Alive: alive}
		}
	}
	if s.View != nil {
		s.View.Writable = r.viewWritable()
	}
	if srv, ok := r.server(); ok {
		s.Server = &proto.ServerStatus{Address: srv.Address, Pid: srv.Pid}
	}
	runs, _ := filepath.Glob(r.file(rundir.RunPrefix + "*"))
	for _, d := range runs {
		below, err := mounts.Below(d)
		if err != nil {
			return err
		}
		s.Strays = append(s.Strays, below...)
	}
	r.event(proto.Event{Kind: proto.KindResult, Status: &s})
	return nil
}
