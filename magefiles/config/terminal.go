package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"fuseless/guest/proto"
	"fuseless/magefiles/passphrase"
)

// TerminalAsker asks on the terminal.
type TerminalAsker struct{ terminal *passphrase.Terminal }

// OpenTerminal opens the terminal for Setup; without one it fails with
// proto.Terminal. The caller closes it.
func OpenTerminal() (*TerminalAsker, error) {
	t, err := passphrase.OpenTerminal()
	if err != nil {
		return nil, proto.Errorf(proto.Terminal, "setup asks questions, and there is no terminal").
			WithHint("write %s by hand; the least is one vault with source and destination", FileName)
	}
	return &TerminalAsker{t}, nil
}

// Close lets go of the terminal.
func (a *TerminalAsker) Close() { a.terminal.Close() }

// Ask asks a question. Ctrl-D ends it with proto.Interrupted.
func (a *TerminalAsker) Ask(ctx context.Context, question, suggestion string) (string, error) {
	if suggestion != "" {
		question = fmt.Sprintf("%s [%s]", question, suggestion)
	}
	answer, err := a.terminal.ReadLine(ctx, question+" ")
	switch {
	case errors.Is(err, io.EOF):
		return "", proto.Errorf(proto.Interrupted, "setup: nothing was written")
	case err != nil:
		return "", err
	case strings.TrimSpace(answer) == "":
		return suggestion, nil
	}
	return answer, nil
}

// Say prints text.
func (a *TerminalAsker) Say(text string) { a.terminal.Say(text) }
