// Package lima drives the virtual machine.
package lima

import (
	"bytes"

	"github.com/goccy/go-yaml"
	"github.com/lima-vm/lima/pkg/limayaml"
	"github.com/lima-vm/lima/pkg/version"

	"fuseless/guest/proto"
)

// pinned is the version of Lima in go.mod; a test keeps the two equal.
const pinned = "1.2.2"

// A program that was not built by Lima's Makefile has no version of Lima, and
// a file with minimumLimaVersion would then fail to validate.
func init() {
	if version.Version == "<unknown>" {
		version.Version = pinned
	}
}

// Validate says what Lima has against a description of a VM, with Lima's own
// code, and refuses keys that Lima does not know, which Lima only warns about.
// The path file is where the description is or will be; Lima looks beside it
// for an existing instance. Mount locations need not exist. An error is
// proto.Internal: what is validated is our own rendering.
//
// Unlike limayaml.Load this does not read $LIMA_HOME/_config: the user's global
// defaults are not part of our VM.
func Validate(data []byte, file string) error {
	var strict, y, none limayaml.LimaYAML
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&strict); err != nil {
		return invalid(file, err)
	}
	if err := limayaml.Unmarshal(data, &y, file); err != nil {
		return invalid(file, err)
	}
	limayaml.FillDefault(&y, &none, &limayaml.LimaYAML{}, file, false)
	if err := limayaml.Validate(&y, false); err != nil {
		return invalid(file, err)
	}
	return nil
}

func invalid(file string, err error) error {
	return proto.Errorf(proto.Internal, "lima refuses %s: %w", file, err)
}
