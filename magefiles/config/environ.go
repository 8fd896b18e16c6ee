package config

import (
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// variables are environment variables by name.
type variables map[string]string

func environ(env []string) variables {
	e := variables{}
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok {
			e[k] = v
		}
	}
	return e
}

// home is the user's home folder, or "".
func (e variables) home() string {
	if h := e["HOME"]; filepath.IsAbs(h) {
		return filepath.Clean(h)
	}
	return ""
}

const (
	variablePrefix = "FUSELESS_"
	vaultPrefix    = "FUSELESS_VAULT_"
	vmPrefix       = "FUSELESS_VM_"
	testPrefix     = "FUSELESS_TEST_"
)

// variableName is a vault's name as environment variables have it.
func variableName(vault string) string {
	return strings.ToUpper(strings.ReplaceAll(vault, "-", "_"))
}

// override puts the values of FUSELESS_* variables over those of the file. An
// unknown one is a fault, as an unknown field is: a mistyped override must not
// be ignored in silence. An empty one counts as not set, except EXCLUDE, where it
// means no patterns.
func (e variables) override(r *rawConfig, p *problems) {
	for _, k := range slices.Sorted(maps.Keys(e)) {
		if !strings.HasPrefix(k, variablePrefix) {
			continue
		}
		o, v := Origin{Variable: k}, e[k]
		switch {
		case strings.HasSuffix(k, "_PASSPHRASE"), strings.HasSuffix(k, "_PASSWORD"):
			p.add("", o, "a passphrase is never taken from the environment, which other programs can read; "+
				"set `passphrase: keyring` or `passphrase: {command: [...]}` in the file")
		case k == "FUSELESS_CONFIG", k == "FUSELESS_REMOTE", strings.HasPrefix(k, testPrefix):
		case k == "FUSELESS_VAULT":
			if v != "" && !slices.ContainsFunc(r.vaults, func(x *rawVault) bool { return x.name == v }) {
				p.add("", o, "no vault is named %q; there are: %s", v, r.names())
			}
		case k == "FUSELESS_GUEST":
			override(&r.guest, v, o)
		case k == "FUSELESS_SSH_CONFIG":
			override(&r.sshConfig, v, o)
		case strings.HasPrefix(k, vmPrefix):
			if !r.vm.override(strings.TrimPrefix(k, vmPrefix), v, o, p) {
				p.add("", o, "there is no such variable; it is %sFIELD, where FIELD is NAME, CPUS, MEMORY, DISK, RESTORE or TOOLS", vmPrefix)
			}
		case strings.HasPrefix(k, vaultPrefix):
			if !r.overrideVault(strings.TrimPrefix(k, vaultPrefix), v, o, p) {
				p.add("", o, "there is no such variable; it is %sNAME_FIELD, where FIELD is SOURCE, DESTINATION, EXCLUDE, PORT, "+
					"MOUNTPOINT, WRITABLE, REFUSE_MAC_NOISE or KEEP_DELETED, and NAME one of: %s", vaultPrefix, variableName(r.names()))
			}
		default:
			p.add("", o, "there is no such variable; known are FUSELESS_CONFIG, FUSELESS_VAULT, FUSELESS_GUEST, "+
				"FUSELESS_SSH_CONFIG, %sFIELD, %sNAME_FIELD", vmPrefix, vaultPrefix)
		}
	}
}

func (r *rawConfig) names() string {
	var names []string
	for _, v := range r.vaults {
		names = append(names, v.name)
	}
	return strings.Join(names, ", ")
}

// overrideVault says whether the vault and the field exist.
func (r *rawConfig) overrideVault(name, value string, o Origin, p *problems) bool {
	for _, v := range r.vaults {
		field, ok := strings.CutPrefix(name, variableName(v.name)+"_")
		if !ok {
			continue
		}
		switch field {
		case "SOURCE":
			override(&v.source, value, o)
		case "DESTINATION":
			override(&v.destination, value, o)
		case "MOUNTPOINT":
			override(&v.mountpoint, value, o)
		case "EXCLUDE":
			v.exclude = &setting[[]string]{nil, o}
			if value != "" {
				v.exclude.value = strings.Split(value, ",")
			}
		case "PORT":
			overrideNumber(&v.port, join(v.path(), "port"), value, o, p)
		case "KEEP_DELETED":
			overrideNumber(&v.keepDeleted, join(v.path(), "keep_deleted"), value, o, p)
		case "WRITABLE":
			overrideFlag(&v.writable, join(v.path(), "writable"), value, o, p)
		case "REFUSE_MAC_NOISE":
			overrideFlag(&v.refuseMacNoise, join(v.path(), "refuse_mac_noise"), value, o, p)
		default:
			continue // of vaults "a" and "a_port", A_PORT_SOURCE is the second's
		}
		return true
	}
	return false
}

// override says whether the field exists.
func (m *rawVM) override(field, value string, o Origin, p *problems) bool {
	switch field {
	case "NAME":
		override(&m.name, value, o)
	case "RESTORE":
		override(&m.restore, value, o)
	case "TOOLS":
		override(&m.tools, value, o)
	case "CPUS":
		overrideNumber(&m.cpus, "vm.cpus", value, o, p)
	case "MEMORY":
		overrideNumber(&m.memory, "vm.memory", value, o, p)
	case "DISK":
		overrideNumber(&m.disk, "vm.disk", value, o, p)
	default:
		return false
	}
	return true
}

func override(s **setting[string], value string, o Origin) {
	if value != "" {
		*s = &setting[string]{value, o}
	}
}

func overrideNumber(s **setting[int], path, value string, o Origin, p *problems) {
	if value == "" {
		return
	}
	i, err := strconv.Atoi(value)
	if err != nil || !decimal.MatchString(value) {
		p.add(path, o, "must be a whole number")
		return
	}
	*s = &setting[int]{i, o}
}

func overrideFlag(s **setting[bool], path, value string, o Origin, p *problems) {
	switch value {
	case "":
	case "true", "false":
		*s = &setting[bool]{value == "true", o}
	default:
		p.add(path, o, "must be true or false")
	}
}
