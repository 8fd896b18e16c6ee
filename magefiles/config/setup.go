package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kballard/go-shellquote"

	"fuseless/magefiles/passphrase"
)

// Asker asks a person.
type Asker interface {
	// Ask gives the answer, or the suggestion if there is none. An error ends the
	// dialogue.
	Ask(ctx context.Context, question, suggestion string) (string, error)
	// Say shows lines of text.
	Say(text string)
}

// noSource is the answer of who has nothing to back up on this machine.
const noSource = "none"

// Setup asks for one vault and writes the configuration with it to path. A bad
// answer is asked for again. If there is a file at path already, it refuses at
// once, with a proto.Config error.
func Setup(ctx context.Context, io Asker, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return exists(path)
	}
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	s := &setup{ctx: ctx, io: io, file: path, cwd: cwd, home: environ(os.Environ()).home()}
	for _, step := range []func() error{s.source, s.destination, s.name, s.passphrase, s.mountpoint} {
		if err := step(); err != nil {
			return err
		}
	}
	io.Say("\n" + string(Render(s.draft)))
	if err := Write(path, s.draft); err != nil {
		return err
	}
	io.Say("written: " + path)
	return nil
}

type setup struct {
	ctx             context.Context
	io              Asker
	file, cwd, home string
	draft           Draft
	last            bool // the mountpoint is being asked for
}

// ask asks until accept takes the answer.
func (s *setup) ask(question, suggestion string, accept func(answer string) error) error {
	for {
		answer, err := s.io.Ask(s.ctx, question, suggestion)
		if err != nil {
			return err
		}
		before := s.draft
		if err = accept(strings.TrimSpace(answer)); err == nil {
			err = s.check()
		}
		if err == nil {
			return nil
		}
		s.draft = before
		s.io.Say(err.Error())
	}
}

// check is Parse's opinion of the answers so far; what was not asked yet is
// filled with what cannot be at fault.
func (s *setup) check() error {
	d := s.draft
	if d.Destination == "" {
		d.Destination = "host:vault"
	}
	if d.Name == "" {
		d.Name = "vault"
	}
	if !s.last { // the default may be at fault, and can be changed in the last step
		d.Mountpoint = "/.mountpoint-to-be-asked"
	}
	// The machine is not asked about, so it is not judged here: always linux.
	_, err := parse(s.file, Render(d), variables{"HOME": s.home}, "linux")
	var f *FieldError
	if errors.As(err, &f) {
		return errors.New(f.Message)
	}
	return err
}

func (s *setup) source() error {
	return s.ask("Which folder is to be backed up? (`none`: only mount and restore what is on the remote)", "", func(answer string) error {
		if answer == noSource {
			s.draft.Source = ""
			return nil
		}
		dir, err := absolute(answer, s.cwd, s.home)
		if err != nil {
			return errors.New("the folder " + err.Error())
		}
		st, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return errors.New(dir + " is not a folder")
		}
		s.draft.Source = s.short(dir)
		return nil
	})
}

func (s *setup) destination() error {
	s.io.Say("Examples: me@nas:backup/photos, ssh://me@nas:2222/srv/photos, ssh://me@nas:2222/./photos (in the login folder), /mnt/disk/photos")
	return s.ask("Where does the encrypted vault go?", "", func(answer string) error {
		s.draft.Destination = answer
		if answer == "" {
			return errors.New("the destination is empty")
		}
		return nil
	})
}

var notInName = regexp.MustCompile(`[^a-z0-9_-]+`)

// suggestName makes a name of a path's last element.
func suggestName(path string) string {
	base := path[strings.LastIndexAny(path, "/:")+1:]
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(base), "-"), "-_")
	if name == "" {
		return "vault"
	}
	return name[:min(len(name), 32)]
}

func (s *setup) name() error {
	from := s.draft.Source
	if from == "" || from == "~" {
		from = s.draft.Destination
	}
	return s.ask("What is the vault's name?", suggestName(from), func(answer string) error {
		s.draft.Name = answer
		if answer == "" {
			return errors.New("the name is empty")
		}
		return nil
	})
}

func (s *setup) passphrase() error {
	s.io.Say("The passphrase is never written into a file. It can be asked for each time (prompt), lie in the keyring\n" +
		"of your desktop (keyring), or come from a program, such as a password manager (command).")
	kind := ""
	err := s.ask("Where does the passphrase come from: prompt, keyring or command?", passphrase.Prompt, func(answer string) error {
		kind = answer
		switch answer {
		case passphrase.Prompt, passphrase.Keyring:
			s.draft.Passphrase.Kind = answer
			return nil
		case passphrase.Command:
			return nil
		}
		return errors.New("answer prompt, keyring or command")
	})
	if err != nil || kind != passphrase.Command {
		return err
	}
	return s.command()
}

func (s *setup) command() error {
	return s.ask("Which command prints it, as its only line? (such as: pass show fuseless)", "", func(answer string) error {
		argv, err := shellquote.Split(answer)
		if err != nil {
			return errors.New("the command: " + strings.ToLower(err.Error()))
		}
		if len(argv) == 0 {
			return errors.New("the command is empty")
		}
		s.draft.Passphrase = passphrase.Source{Kind: passphrase.Command, Command: argv}
		return nil
	})
}

func (s *setup) mountpoint() error {
	s.last = true
	suggestion := "~/fuseless/" + s.draft.Name
	return s.ask("Where do you want to see the decrypted vault?", suggestion, func(answer string) error {
		s.draft.Mountpoint = ""
		if answer == suggestion {
			return nil // the default
		}
		dir, err := absolute(answer, s.cwd, s.home)
		if err != nil {
			return errors.New("the mountpoint " + err.Error())
		}
		s.draft.Mountpoint = s.short(dir)
		return nil
	})
}

// short writes a path under the home folder with ~.
func (s *setup) short(path string) string {
	if s.home == "" || s.home == "/" {
		return path
	}
	if path == s.home {
		return "~"
	}
	if within(path, s.home) {
		return "~" + strings.TrimPrefix(path, s.home)
	}
	return path
}
