package proto

import "time"

// OpPasswd works on a vault's configuration: see KeyTask.
const OpPasswd Op = "passwd"

// The steps of OpPasswd.
const (
	StepKey     Step = "key"     // make a configuration with the new passphrase, and prove it
	StepInstall Step = "install" // put a configuration into the vault
)

// KeyTask is what OpPasswd is to do.
type KeyTask string

// The tasks.
const (
	KeyChange  KeyTask = "change"  // make the configuration for a new passphrase; it changes nothing
	KeyInstall KeyTask = "install" // put the configuration that KeyChange made into the vault
	KeyMend    KeyTask = "mend"    // put a copy into the vault if its own is missing or damaged
	KeyShow    KeyTask = "show"    // unlock Source and emit the master key
)

// KeyOptions are for OpPasswd. Configurations are whole files, as they were
// found; one that is damaged counts as none.
type KeyOptions struct {
	Task KeyTask `json:"task"`

	New       Secret `json:"new,omitempty"`       // KeyChange: the new passphrase
	MasterKey Secret `json:"masterKey,omitempty"` // KeyChange: in place of the old passphrase; 64 hexadecimal digits

	HasSource bool   `json:"hasSource,omitempty"` // the vault has a source
	Source    []byte `json:"source,omitempty"`    // the configuration in the source
	Copy      []byte `json:"copy,omitempty"`      // the copy in the state folder
	Last      []byte `json:"last,omitempty"`      // what was in source and vault after the last backup to this destination

	Config   []byte    `json:"config,omitempty"`   // KeyInstall: what to put into the vault
	Replaces []byte    `json:"replaces,omitempty"` // KeyInstall: what it replaces; anything else that is whole is left alone
	Stamp    string    `json:"stamp,omitempty"`    // KeyInstall: folder in the trash for what is replaced
	Time     time.Time `json:"time,omitzero"`      // KeyInstall: modification time, in whole seconds, as the source's has
}

// KeyResult is what OpPasswd did.
type KeyResult struct {
	Config []byte `json:"config,omitempty"` // KeyChange: the new configuration; KeyMend: what was put into the vault
	Vault  bool   `json:"vault,omitempty"`  // KeyChange: there is a vault at the destination, which must follow
	Remote []byte `json:"remote,omitempty"` // KeyChange: its configuration, as it was found
	Stamp  string `json:"stamp,omitempty"`  // KeyChange: for KeyInstall
	Proof  string `json:"proof,omitempty"`  // how it was proven that the key is the vault's; empty: the vault's own configuration was unlocked
	Other  bool   `json:"other,omitempty"`  // KeyInstall: somebody else changed it meanwhile; it was left alone
}
