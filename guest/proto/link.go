package proto

import "errors"

// ErrLink is wrapped by errors that come from the link to the remote and not
// from what is at its ends: it broke, stalled, or could not be made. What
// failed so may succeed later, unchanged.
var ErrLink = errors.New("the link to the remote broke")

// Linked makes e one that wraps ErrLink. What e wrapped before is in its message.
func (e *Error) Linked() *Error {
	e.Err = ErrLink
	return e
}
