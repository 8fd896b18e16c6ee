//go:build linux

package gocryptfs

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/rfjakob/eme"

	"fuseless/guest/proto"
)

// NameKey is what the names of a vault are encrypted with, and nothing else: whoever has it can
// read names, and no contents (gocryptfs derives the keys of both from the master
// key, by which neither leads to the other). It is a secret.
type NameKey struct {
	Key         []byte
	Raw64       bool // the feature flag: base64 without padding
	LongNameMax int  // bytes; a longer encrypted name is kept in a file of its own
}

// errNames is a vault whose names only gocryptfs is asked for.
var errNames = errors.New("its names are not encrypted as in the vaults that gocryptfs has made since 1.3")

// errScrypt is a vault of which a second key derivation would take too much.
var errScrypt = errors.New("its scrypt parameters are not gocryptfs's defaults or less")

// scryptMemory bounds what it may take, in bytes: 128 N r (RFC 7914, section 2 and 5).
const scryptMemory = 64 << 20

// keyConfig is all that is needed of a gocryptfs.conf to have its keys
// (gocryptfs, internal/configfile).
type keyConfig struct {
	Config
	ScryptObject struct{ N, R, P, KeyLen int }
	LongNameMax  int
}

// UnlockNames derives the name key of a vault from its configuration and the passphrase. It
// takes as long, and as much memory, as gocryptfs does for its own: for scrypt's usual
// N of 65536, 64 MiB and some tenths of a second. It is an error for a vault that
// gocryptfs does not open with this passphrase, or whose names are others.
func UnlockNames(ctx context.Context, config []byte, pass proto.Secret) (*NameKey, error) {
	var c keyConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	for _, flag := range []string{"HKDF", "DirIV", "EMENames", "LongNames"} {
		if !slices.Contains(c.FeatureFlags, flag) {
			return nil, errNames
		}
	}
	// What gocryptfs's defaults take, and no more: it takes as much at the same time, and a remote
	// could ask for any amount.
	s := c.ScryptObject
	if s.N < 2 || s.R < 1 || s.N > scryptMemory/128/s.R || s.P != 1 || s.KeyLen != 32 {
		return nil, errScrypt
	}
	text, err := MasterKey(ctx, config, pass)
	if err != nil {
		return nil, err
	}
	master, err := hex.DecodeString(strings.ReplaceAll(string(text), "-", ""))
	if err != nil || len(master) != 32 {
		return nil, errNames
	}
	defer clear(master)
	key, err := hkdf.Key(sha256.New, master, nil, "EME filename encryption", 32)
	if err != nil {
		return nil, err
	}
	return &NameKey{Key: key, Raw64: slices.Contains(c.FeatureFlags, "Raw64"), LongNameMax: cmp.Or(c.LongNameMax, 255)}, nil
}

// The names of gocryptfs's own files (gocryptfs, internal/nametransform).
const (
	longNamePrefix = "gocryptfs.longname."
	longNameSuffix = ".name"
	nameMax        = 255 // bytes of a name
	longNameBytes  = 344 // of an encrypted name, at most: 255 bytes, padded, in base64
)

// names encrypts and decrypts names.
type names struct {
	eme     *eme.EMECipher
	b64     *base64.Encoding
	longMax int
}

func (k *NameKey) cipher() (*names, error) {
	block, err := aes.NewCipher(k.Key)
	if err != nil {
		return nil, err
	}
	n := &names{eme: eme.New(block), b64: base64.URLEncoding, longMax: k.LongNameMax}
	if k.Raw64 {
		n.b64 = base64.RawURLEncoding
	}
	return n, nil
}

var errName = errors.New("not a name of this folder")

// encrypt is how name stands in a folder with this directory IV.
func (n *names) encrypt(iv []byte, name string) string {
	pad := aes.BlockSize - len(name)%aes.BlockSize
	padded := append([]byte(name), make([]byte, pad)...)
	for i := len(name); i < len(padded); i++ {
		padded[i] = byte(pad)
	}
	enc := n.b64.EncodeToString(n.eme.Encrypt(iv, padded))
	if len(enc) > n.longMax {
		return n.hash(enc)
	}
	return enc
}

// hash is where a long encrypted name is kept.
func (n *names) hash(enc string) string {
	sum := sha256.Sum256([]byte(enc))
	return longNamePrefix + n.b64.EncodeToString(sum[:])
}

// decrypt is the name that an encrypted one, which is not the hash of a long one, stands for. It
// is an error for what gocryptfs would not take for a name.
func (n *names) decrypt(iv []byte, enc string) (string, error) {
	b, err := n.b64.DecodeString(enc)
	if err != nil || len(b) == 0 || len(b)%aes.BlockSize != 0 || len(b)/aes.BlockSize > 128 {
		return "", errName
	}
	b = n.eme.Decrypt(iv, b)
	pad := int(b[len(b)-1])
	if pad == 0 || pad > aes.BlockSize || pad >= len(b) {
		return "", errName
	}
	for _, p := range b[len(b)-pad:] {
		if int(p) != pad {
			return "", errName
		}
	}
	name := string(b[:len(b)-pad])
	if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", errName
	}
	return name, nil
}
