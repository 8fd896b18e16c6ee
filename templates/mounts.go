package templates

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
)

// RestorePoint is where the guest sees VM.RestoreDir.
const RestorePoint = mountRoot + "restore"

const mountRoot = "/mnt/fuseless/"

// MountPoint is where the guest sees a source. It is made of the path's hash,
// not of the path: a space in a mount point makes the mount silently absent
// (lima-vm/lima#5136), and other characters would be read as YAML by cloud-init.
// It does not depend on the other sources.
func MountPoint(source string) string {
	sum := sha256.Sum256([]byte(source))
	return mountRoot + "source-" + hex.EncodeToString(sum[:6])
}

type mount struct {
	Location   string // as a Go template of Lima
	MountPoint string
	Writable   bool
}

// mounts are the sources in their order, each once, and the restore folder.
func mounts(vm VM) []mount {
	var list []mount
	seen := map[string]bool{}
	for _, s := range vm.Sources {
		if !seen[s] {
			seen[s] = true
			list = append(list, mount{literal(s), MountPoint(s), false})
		}
	}
	if vm.RestoreDir != "" {
		list = append(list, mount{literal(vm.RestoreDir), RestorePoint, true})
	}
	return list
}

// literal gives a Go template that expands to s: Lima expands locations.
func literal(s string) string { return strings.ReplaceAll(s, "{{", `{{"{{"}}`) }

// within tells whether the folder dir is parent or below it.
func within(dir, parent string, foldCase bool) bool {
	if foldCase {
		dir, parent = strings.ToLower(dir), strings.ToLower(parent)
	}
	return dir == parent || strings.HasPrefix(dir, strings.TrimSuffix(parent, "/")+"/")
}

// locationFault says why Lima cannot be given the folder p, or "".
//
// For reverse-sshfs Lima puts the path between double quotes into a shell's
// command line, escaped for Go, not for a shell (sshocker's addQuotes): there $
// and ` would expand, in the guest, and what Go writes as \u00a0 would stay so.
// vz does not need this; one rule for all hosts spares a folder that stops
// working where Lima falls back to QEMU.
func locationFault(p string) string {
	switch {
	case !path.IsAbs(p):
		return "is not an absolute path"
	case path.Clean(p) != p:
		return "is not a clean path: " + path.Clean(p) + " is"
	case p == "/":
		return "is the root folder"
	case strings.ContainsAny(p, "$`"):
		return "holds $ or `, which a shell would expand on the way into the virtual machine"
	case !printable(p):
		return "holds a character that cannot be printed, or is not UTF-8"
	}
	return ""
}
