package webdav

import "hash/fnv"

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
