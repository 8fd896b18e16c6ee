package remote

import "fuseless/guest/proto"

// ofLink are the texts of messages that blame the link: the same may work
// later, with nothing changed at either end. All others wait for a person.
var ofLink = map[string]bool{
	"the remote's name cannot be resolved":  true, // as on a machine that is offline for a while
	"the remote refuses the connection":     true, // as while its sshd is started again
	"the remote cannot be reached":          true,
	"the connection to the remote was lost": true,
}

// linked makes e, whose message begins with text, wrap proto.ErrLink if the
// link is to blame.
func linked(text string, e *proto.Error) *proto.Error {
	if ofLink[text] {
		return e.Linked()
	}
	return e
}
