package webdav

import (
	"context"
	"hash/fnv"
	"net/http"
)

// entry is the name under which something new or changed belongs that a client calls name: in
// the form in which it is stored, and by its folders' own names, so that what has several is
// locked by one. A symbolic link at its end is meant itself.
func (s *Server) entry(ctx context.Context, name string) (string, error) {
	name, err := s.fs.place(ctx, name)
	if err != nil {
		return name, err
	}
	return s.writes.Canonical(ctx, name, false), nil
}

// thing is entry for what is locked, and for what has properties: that to which a symbolic link
// leads.
func (s *Server) thing(ctx context.Context, name string) (string, error) {
	name, err := s.fs.place(ctx, name)
	if err != nil {
		return name, err
	}
	return s.writes.Canonical(ctx, name, true), nil
}

// errMoved: what a name stands for has changed while the request was carried out. It is no fault
// of the server's, for which macOS would show a full disk.
var errMoved = refuse(http.StatusConflict, "it was moved or replaced meanwhile; try again")

// unmoved is an error if find would make another name of one by now: something may have come
// into being meanwhile whose name differs by its form, or a link by which a folder was reached may
// lead elsewhere.
func unmoved(r *http.Request, find func(context.Context, string) (string, error), names ...string) error {
	for _, name := range names {
		if now, err := find(r.Context(), name); err != nil {
			return err
		} else if now != name {
			return errMoved
		}
	}
	return nil
}

// unhurried calls what only tidies up: a server that ends does not wait for it, and the next one
// would do it.
func (s *Server) unhurried(rest func()) {
	s.writing.RUnlock()
	defer s.writing.RLock()
	rest()
}

// changing waits until no other request is about to change name, and keeps others from it
// until the returned function is called: between the last look at the conditions of a request
// and what it does, nothing comes in between. Not while a body is received.
func (s *Server) changing(name string) (done func()) {
	h := fnv.New32a()
	h.Write([]byte(lockKey(name)))
	s.tree.RLock()
	m := &s.names[h.Sum32()%uint32(len(s.names))]
	m.Lock()
	return func() {
		m.Unlock()
		s.tree.RUnlock()
	}
}

// changingTree is changing for all names.
func (s *Server) changingTree() (done func()) {
	s.tree.Lock()
	return s.tree.Unlock
}
