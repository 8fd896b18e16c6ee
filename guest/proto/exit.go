package proto

import (
	"errors"
	"fmt"
)

// Code is an exit code of a target and of fuseless-guest. One table serves
// both, so that a code means the same wherever it is seen. Codes begin at 10
// because 1 and 2 are mage's own.
type Code int

// The exit codes. The README repeats this table; a test keeps the two equal.
const (
	OK           Code = 0
	Config       Code = 10
	Prerequisite Code = 11
	Passphrase   Code = 12
	Source       Code = 13
	Remote       Code = 14
	Vault        Code = 15
	Incomplete   Code = 16
	Consent      Code = 17
	Busy         Code = 18
	Serve        Code = 19
	Mount        Code = 20
	Different    Code = 21
	NoSpace      Code = 22
	Terminal     Code = 23
	Guest        Code = 24
	Internal     Code = 29
	Interrupted  Code = 30
)

// Codes lists every exit code with its meaning, in order, for the README and
// for `mage config`.
var Codes = []struct {
	Code    Code
	Name    string
	Meaning string
}{
	{OK, "ok", "everything that was asked for is done"},
	{Config, "config", "the configuration, or a flag, is wrong; nothing was started"},
	{Prerequisite, "prerequisite", "a program that is needed is missing or too old"},
	{Passphrase, "passphrase", "the passphrase is wrong, empty, or could not be had"},
	{Source, "source", "the source folder is missing or cannot be read"},
	{Remote, "remote", "the remote cannot be reached, or refuses"},
	{Vault, "vault", "the vault is missing, damaged, or not what was expected"},
	{Incomplete, "incomplete", "some files were not transferred; the rest is safe, nothing was deleted"},
	{Consent, "consent", "everything is transferred, but the deletions exceed the limit and wait for consent"},
	{Busy, "busy", "another run, or an open file, holds what is needed"},
	{Serve, "serve", "the WebDAV server could not be started, or its port is taken"},
	{Mount, "mount", "a mount could not be made or taken down"},
	{Different, "different", "a comparison found a difference that is not permitted"},
	{NoSpace, "nospace", "a disk is full"},
	{Terminal, "terminal", "a question needs a terminal, and there is none"},
	{Guest, "guest", "the VM could not be made, started or reached"},
	{Internal, "internal", "a fault of fuseless itself"},
	{Interrupted, "interrupted", "stopped by a signal or by the host; it can be run again"},
}

func (c Code) String() string {
	for _, e := range Codes {
		if e.Code == c {
			return e.Name
		}
	}
	return fmt.Sprintf("code %d", int(c))
}

// Error is a failure that a person reads: what failed, what to do about it,
// and the exit code.
type Error struct {
	Code    Code
	Message string // lower case, names what failed
	Hint    string // what to do; may be empty
	Err     error  // the cause; may be nil
}

// Errorf makes an Error without a hint. A %w among the arguments becomes the cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint sets what to do about the failure.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + "\nhint: " + e.Hint
}

func (e *Error) Unwrap() error { return e.Err }

// ExitStatus lets mage end with this error's code.
func (e *Error) ExitStatus() int { return int(e.Code) }

// exit gives an error that wraps an *Error its exit status.
type exit struct {
	error
	code Code
}

func (e exit) ExitStatus() int { return int(e.code) }
func (e exit) Unwrap() error   { return e.error }

// Exit is err with an ExitStatus of its own. mage looks for that method on the
// error itself and not on what it wraps, and would end with 1. An error that
// has one, such as the status of a shell in the guest, keeps it.
func Exit(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := err.(interface{ ExitStatus() int }); ok {
		return err
	}
	return exit{err, CodeOf(err)}
}

// CodeOf is the exit code for err: OK for nil, Internal for an error that
// carries none.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}
