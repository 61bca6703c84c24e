package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
)

func zoneCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "zone",
		Short: "Add, replace, remove and list zones while serving",
		Long: `Change one zone of the running server; all others are served on as they were,
and what it costs hardly depends on their number. A command returns when the
change is served and on the disk.

A server that runs from a folder of zones (serve --zones) keeps them there, as
NAME.zone. One that runs from a configuration keeps them in its state folder,
under zones; they have static records only, and a zone of the configuration
itself is changed in its file, by reload or apply. Where both have a zone the
configuration wins. The version before of a zone that is replaced or removed is
kept: the command says where.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return see(cmd, errors.New("zone needs one of add, replace, remove and list"))
		},
	}
	cmd.AddCommand(zonePutCommand(api.AddZone, "Serve a zone that is not there yet", cobra.NoFileCompletions),
		zonePutCommand(api.ReplaceZone, "Serve a new version of a zone", completeOwnZone), zoneRemoveCommand(), zoneListCommand())
	return cmd
}

const zoneExits = `

Exit codes: 0 it is served and kept; 1 it was refused and nothing changed; 2 the
file could not be read, or there is no server to ask.`

func zonePutCommand(verb api.ZoneVerb, short string, names cobra.CompletionFunc) *cobra.Command {
	var output *choice
	cmd := &cobra.Command{
		Use:   string(verb) + " NAME FILE",
		Short: short,
		Long: short + `, and return when it is served and kept. FILE is a master
file, or - for standard input; $INCLUDE is refused in it, for the server reads
no file of yours. All that is wrong with it is told, each with its place, and
then nothing changes.` + zoneExits,
		Example: "  portolan zone " + string(verb) + " example.com example.com.zone\n  generate-zone | portolan zone " + string(verb) + " example.com -",
		Args:    cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return names(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c := api.ZoneChange{Verb: verb, Name: args[0], From: args[1]}
			var err error
			if c.Text, err = readZone(cmd.InOrStdin(), &c.From); err != nil {
				return err
			}
			return changeZone(cmd, c, output)
		},
	}
	output = outputFlag(cmd, "text", "json")
	return cmd
}

// readZone reads a zone's file, or standard input, no further than may be sent.
func readZone(stdin io.Reader, from *string) (text []byte, err error) {
	in := stdin
	if *from == "-" {
		*from = "standard-input"
	} else {
		f, err := os.Open(*from)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	text, err = io.ReadAll(io.LimitReader(in, api.MaxZoneText+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", *from, err)
	case len(text) > api.MaxZoneText:
		return nil, api.Errorf(api.Refused, "%s has more than %d bytes; name it in a configuration, or put it into the folder that is served", *from, api.MaxZoneText)
	}
	return text, nil
}

func zoneRemoveCommand() *cobra.Command {
	var output *choice
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Serve a zone no more",
		Long: `Take a zone away, and return when it is no longer served. Its last version is
kept, so that a mistake can be undone: the command says where.` + zoneExits,
		Example:           "  portolan zone remove example.com",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeOwnZone,
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeZone(cmd, api.ZoneChange{Verb: api.RemoveZone, Name: args[0]}, output)
		},
	}
	output = outputFlag(cmd, "text", "json")
	return cmd
}

func zoneListCommand() *cobra.Command {
	var output *choice
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the zones, as get zones does",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, _ := findListing("zones")
			return l.print(cmd, getOptions{}, output.word == "json")
		},
	}
	output = outputFlag(cmd, "table", "json")
	return cmd
}

func changeZone(cmd *cobra.Command, c api.ZoneChange, output *choice) error {
	server, err := dial(cmd)
	if err != nil {
		return err
	}
	done, err := server.ChangeZone(cmd.Context(), c)
	if err != nil {
		return err
	}
	if output.word == "json" {
		return printJSON(cmd.OutOrStdout(), done)
	}
	printDetails(cmd.ErrOrStderr(), done.Warnings)
	text := fmt.Sprintf("%s is served: serial %d, %s", shown(done.Name), done.Serial, counted(done.Records, "record"))
	if c.Verb == api.RemoveZone {
		text = shown(done.Name) + " is removed"
	}
	if done.Kept != "" {
		text += "; the version before is " + done.Kept
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
	return err
}

// completeOwnZone completes the zones that commands may change.
func completeOwnZone(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return ownZones(cmd), noFiles
}
