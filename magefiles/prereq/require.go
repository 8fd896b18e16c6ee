package prereq

import (
	"fuseless/guest/proto"
	"fuseless/magefiles/privilege"
)

// Require says at once which of the named programs of LocalGuest are missing,
// before a target begins: one command mends it all. Versions are not looked at,
// which would mean to run each. The error is a *proto.Error with code
// Prerequisite.
func Require(programs ...string) error {
	var missing []Status
	for _, n := range LocalGuest() {
		for _, p := range programs {
			if n.Program != p {
				continue
			}
			if _, err := privilege.LookPath(p); err != nil {
				missing = append(missing, Status{Need: n, State: Absent})
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	manager, packages := plan(missing)
	return proto.Errorf(proto.Prerequisite, "%s", list(missing)).WithHint("%s", hintFor(manager, packages))
}
