//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"fuseless/magefiles/throwaway"
)

func (r *run) passFile() string { return filepath.Join(r.mem, "passphrase") }

// configure writes fuseless.yaml, for a VM with memory MiB.
func (r *run) configure(memory int) error {
	text := ""
	for _, v := range []struct{ name, source string }{{mainVault, mainSource}, {secondVault, smallSource}} {
		text += fmt.Sprintf(`  %[1]s:
    source: ~/%[2]s
    destination: %[3]s:backup/%[1]s
    port: %[4]d
    passphrase: {command: [cat, %[5]q]}
`, v.name, v.source, throwaway.Alias, r.ports[v.name], r.passFile())
	}
	return r.configureVM(r.server.SSHConfig, memory, text)
}

// configureVM writes fuseless.yaml, with the section of the vaults as it is given.
func (r *run) configureVM(sshConfig string, memory int, vaults string) error {
	text := fmt.Sprintf(`guest: lima
ssh_config: %q
vm:
  memory: %d
  disk: 6
  tools: %q
  image:
    location: %q
    kernel: %q
    cmdline: %q
    initrd: %q
vaults:
%s`, sshConfig, memory, filepath.Dir(filepath.Dir(r.tool.Path)), r.image.Disk, r.image.Kernel, r.image.Cmdline, r.image.Initrd, vaults)
	file := r.home(".config", "fuseless", "fuseless.yaml")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return r.user.own(filepath.Dir(file))
}

// freePort is a port that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
