// Package config reads, checks, prints and writes the configuration,
// fuseless.yaml.
//
//	guest: local             # where FUSE works: this machine (local; Linux only), or a VM (lima; macOS's default)
//	vm: {memory: 2048}       # see VM; only for `guest: lima`
//	ssh_config: ~/.ssh/nas   # given to ssh as -F; default: the user's own
//	vaults:
//	  photos:                # [a-z0-9][a-z0-9_-]{0,31}
//	    source: ~/Pictures   # may be missing: then only mounting and restoring work
//	    writable: true       # instead of a source: files are written into the view; default: false
//	    refuse_mac_noise: true # with writable: no ._* and .DS_Store; default: false
//	    destination: me@nas:backup/photos
//	    exclude: ["*.tmp"]   # patterns on plaintext names, as gocryptfs has them
//	    port: 9843           # WebDAV on 127.0.0.1; default: 9843 + the vault's place in the file
//	    mountpoint: ~/mnt    # default: ~/fuseless/NAME
//	    passphrase: prompt   # prompt, keyring, or {command: [argv]}
//	    keep_deleted: 30     # days in the trash on the remote; 0: for ever
//
// `~` and `~/` expand at the start of a path; other relative paths count from
// the folder of the file, also in environment variables.
package config

import (
	"fmt"
	"runtime"
	"strings"

	"fuseless/guest/proto"
	"fuseless/magefiles/passphrase"
)

// The guests.
const (
	Local = "local" // the host itself; it needs Linux
	Lima  = "lima"  // a Lima virtual machine
)

// Defaults of a vault.
const (
	FirstPort   = 9843 // of the first vault; the next ones count up
	KeepDeleted = 30   // days
)

// Config is the effective configuration: read, overridden by the environment,
// completed with defaults, and valid.
type Config struct {
	File      string  // absolute path of the file
	Guest     string  // Local or Lima
	VM        VM      // of the guest Lima
	SSHConfig string  // absolute path for ssh -F, or "none" (ssh reads no file); empty: ssh's own default
	Vaults    []Vault // in the order of the file; at least one

	selected string // FUSELESS_VAULT
	origins  map[string]Origin
}

// Vault is one source folder with its encrypted image on a remote.
type Vault struct {
	Name        string
	Source      string // absolute path; empty: none
	Destination Destination
	Exclude     []string
	Port        int    // 1024 to 65535
	Mountpoint  string // absolute path
	Passphrase  passphrase.Source

	// Writable says that the view can be written to. It goes without a source: a
	// backup of one would delete what was written.
	Writable       bool
	RefuseMacNoise bool // a writable view does not take ._* and .DS_Store

	// KeepDeleted is for how many days the trash on the remote is kept. 0 is for
	// ever: it never means to delete at once.
	KeepDeleted int
}

// HasSource says whether there is something to back up from this machine.
// Without it a vault can only be mounted and restored.
func (v Vault) HasSource() bool { return v.Source != "" }

// Origin is where the value of a field came from, such as
// "vaults.photos.port".
func (c *Config) Origin(field string) Origin { return c.origins[field] }

// Names are the names of all vaults, in the order of the file.
func (c *Config) Names() []string {
	var names []string
	for _, v := range c.Vaults {
		names = append(names, v.Name)
	}
	return names
}

// Selected is the vault that FUSELESS_VAULT names, or "".
func (c *Config) Selected() string { return c.selected }

// Select gives the vaults that a target acts on: the one named, else the one
// that FUSELESS_VAULT names, else all. An unknown name is a proto.Config error
// that lists the known ones.
func (c *Config) Select(name string) ([]Vault, error) {
	if name == "" {
		name = c.selected
	}
	if name == "" {
		return c.Vaults, nil
	}
	for _, v := range c.Vaults {
		if v.Name == name {
			return []Vault{v}, nil
		}
	}
	return nil, proto.Errorf(proto.Config, "no vault is named %q", name).
		WithHint("the vaults of %s are: %s", c.File, strings.Join(c.Names(), ", "))
}

// One gives the one vault that a target acts on: the one named, else the one
// that FUSELESS_VAULT names, else the only one. It refuses an ambiguous choice
// with a proto.Config error that lists the names.
func (c *Config) One(name string) (Vault, error) {
	vaults, err := c.Select(name)
	if err != nil {
		return Vault{}, err
	}
	if len(vaults) > 1 {
		return Vault{}, proto.Errorf(proto.Config, "which vault? there are %d: %s", len(vaults), strings.Join(c.Names(), ", ")).
			WithHint("choose one: FUSELESS_VAULT=%s", vaults[0].Name)
	}
	return vaults[0], nil
}

// defaultGuest is the guest where none is given.
func defaultGuest(goos string) string {
	if goos == "linux" {
		return Local
	}
	return Lima
}

// guestFault says why a guest cannot be had, or "".
func guestFault(guest, goos string) string {
	switch {
	case guest != Local && guest != Lima:
		return fmt.Sprintf("%q is not a guest; local and lima are", guest)
	case guest == Local && goos != "linux":
		return "local needs Linux; use lima"
	}
	return ""
}

// Load finds the configuration file (see Find), reads it, and overrides it
// with the environment, which is in the form of os.Environ; dir is the working
// folder. All faults come at once, as one proto.Error with code proto.Config.
func Load(env []string, dir string) (*Config, error) {
	file, err := Find(env, dir)
	if err != nil {
		return nil, err
	}
	data, err := read(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, data, env)
}

// Parse is Load for the content of a file; nothing is read. The path file is
// what relative paths count from.
func Parse(file string, data []byte, env []string) (*Config, error) {
	return parse(file, data, environ(env), runtime.GOOS)
}

func parse(file string, data []byte, env variables, goos string) (*Config, error) {
	p := &problems{}
	raw := decode(file, data, p)
	if raw == nil {
		return nil, p.err(file)
	}
	env.override(raw, p)
	c := resolve(raw, file, env.home(), goos, p)
	c.selected = env["FUSELESS_VAULT"]
	validate(c, env.home(), goos, p)
	if err := p.err(file); err != nil {
		return nil, err
	}
	return c, nil
}
