package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completeWithin bounds how long a shell waits for names from the server.
const completeWithin = 300 * time.Millisecond

const noFiles = cobra.ShellCompDirectiveNoFileComp

// completeKind completes the first argument.
func completeKind(kinds []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, noFiles
		}
		return kinds, noFiles
	}
}

// completeDescribe completes a kind, then the names of that kind.
func completeDescribe(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return describable(), noFiles
	case 1:
		return namesOf(cmd, args[0]), noFiles
	}
	return nil, noFiles
}

// completeWatch completes a kind as get has it, then the names of that kind.
func completeWatch(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return kindWords(), noFiles
	case 1:
		return namesOf(cmd, args[0]), noFiles
	}
	return nil, noFiles
}

// completeHoldable completes the rows that can be held.
func completeHoldable(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	var rows []string
	for _, kind := range []string{"virtualServer", "link", "site", "linkGroup", "serverFarm", "realServer"} {
		for _, name := range namesOf(cmd, kind) {
			rows = append(rows, kind+"/"+name)
		}
	}
	return rows, noFiles
}

// completeHeld completes the rows that are held.
func completeHeld(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	return namesOf(cmd, "holds"), noFiles
}

func completeLink(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return namesOf(cmd, "links"), noFiles
}

func completeGroup(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return namesOf(cmd, "groups"), noFiles
}

func completePool(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return namesOf(cmd, "pools"), noFiles
}

// namesOf asks the server for the names of a kind. Without an answer in time
// there are none: a shell is no place for errors.
func namesOf(cmd *cobra.Command, word string) []string {
	l, ok := findListing(word)
	c, err := dial(cmd)
	if !ok || err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	_, rows, err := l.fetch(ctx, c, getOptions{})
	if err != nil {
		return nil
	}
	names := make([]string, len(rows))
	for i, row := range rows {
		var parts []string
		for _, column := range l.name {
			parts = append(parts, row[column])
		}
		names[i] = strings.Join(parts, "/")
	}
	return names
}

// ownZones asks the server for the zones that are not of its configuration.
func ownZones(cmd *cobra.Command) []string {
	c, err := dial(cmd)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
	defer cancel()
	zones, err := c.Zones(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, z := range zones {
		if z.Origin != "configuration" {
			names = append(names, z.Name)
		}
	}
	return names
}
