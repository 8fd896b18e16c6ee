package throwaway

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Alias is the Host of the written ssh configuration.
const Alias = "fuseless-demo"

// makeKeys makes the host key, which stays in memory, and the client's key and
// configuration in dir.
func (s *Server) makeKeys(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	host, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		return err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	client, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, Alias)
	if err != nil {
		return err
	}

	key, known := filepath.Join(dir, "id_ed25519"), filepath.Join(dir, "known_hosts")
	s.SSHConfig = filepath.Join(dir, "ssh_config")
	config, err := sshConfig(s.Port, key, known)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path string
		data []byte
	}{
		{key, pem.EncodeToMemory(block)},
		{known, []byte(knownhosts.Line([]string{s.Addr}, host.PublicKey()) + "\n")},
		{s.SSHConfig, []byte(config)},
	} {
		if err := write(f.path, f.data); err != nil {
			return err
		}
	}

	s.config = &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-fuseless",
		MaxAuthTries:  3,
		PublicKeyCallback: func(c ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() == User && bytes.Equal(k.Marshal(), client.Marshal()) {
				return nil, nil
			}
			return nil, errors.New("not the throwaway key")
		},
	}
	s.config.AddHostKey(host)
	return nil
}

// write replaces the file path; a key of an earlier run may be there.
func write(path string, data []byte) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// sshConfig is a configuration that reaches this server and, used with ssh -F,
// nothing of the user's own: no agent, no other key, no host key but ours.
func sshConfig(port, key, known string) (string, error) {
	for _, p := range []string{key, known} {
		if strings.ContainsAny(p, "\"\\\n") {
			return "", fmt.Errorf("the path %q cannot stand in an ssh configuration", p)
		}
	}
	quote := func(p string) string { return `"` + strings.ReplaceAll(p, "%", "%%") + `"` }
	return fmt.Sprintf(`Host %s
  HostName 127.0.0.1
  Port %s
  User %s
  IdentityFile %s
  IdentitiesOnly yes
  IdentityAgent none
  PreferredAuthentications publickey
  UserKnownHostsFile %s
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
`, Alias, port, User, quote(key), quote(known)), nil
}
