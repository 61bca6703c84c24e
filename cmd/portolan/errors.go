package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
)

// exit is an exit code of a command that has already said what is wrong.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// notServed is why serve ended before it was told to: exit code 1.
type notServed struct{ error }

func (e notServed) Unwrap() error { return e.error }

// oneLine makes cobra's answer to an unknown command one line, as all errors
// are.
func oneLine(text string) string {
	text, like, found := strings.Cut(strings.TrimSpace(text), "\n\nDid you mean this?\n")
	if found {
		text += "; did you mean " + strings.Join(strings.Fields(like), " or ") + "?"
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

// sayHowToUse makes errors about arguments and flags end with the right form,
// or with where to read about it.
func sayHowToUse(root *cobra.Command) {
	root.SetFlagErrorFunc(see)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return see(cmd, cmd.ValidateRequiredFlags()) }
	for _, cmd := range root.Commands() {
		showForm(cmd)
	}
}

func see(cmd *cobra.Command, err error) error {
	if err != nil {
		return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	}
	return nil
}

func showForm(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return fmt.Errorf("%w; the form is: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		showForm(sub)
	}
}

// printDetails prints the errors of a configuration, as check does.
func printDetails(w io.Writer, details []api.Detail) {
	for _, d := range details {
		_, _ = fmt.Fprintln(w, detailText(d))
	}
}

func detailText(d api.Detail) string {
	s := ""
	for _, part := range []string{d.Place, d.Path} {
		if part != "" {
			s += shown(part) + ": "
		}
	}
	if d.Warning {
		s += "warning: "
	}
	s += shown(d.Text)
	switch {
	case d.Snippet != "" && d.Hint != "":
		s += "\n" + d.Snippet + " " + d.Hint
	case d.Snippet != "":
		s += "\n" + d.Snippet
	case d.Hint != "":
		s += "; " + d.Hint
	}
	return s
}
