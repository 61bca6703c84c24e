package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// choice is a flag that takes one of a few words.
type choice struct {
	word    string
	allowed []string
}

// choiceFlag adds a flag; the first word is the default.
func choiceFlag(cmd *cobra.Command, name, short, usage string, words ...string) *choice {
	c := &choice{words[0], words}
	cmd.Flags().VarP(c, name, short, usage)
	// It fails only for flags that do not exist or have one already.
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// outputFlag adds -o.
func outputFlag(cmd *cobra.Command, words ...string) *choice {
	return choiceFlag(cmd, "output", "o", "how to print it", words...)
}

func (c *choice) String() string { return c.word }

// Type is shown in the help, in the place of the value.
func (c *choice) Type() string { return strings.Join(c.allowed, "|") }

func (c *choice) Set(word string) error {
	if !slices.Contains(c.allowed, word) {
		return fmt.Errorf("it is one of %s", strings.Join(c.allowed, ", "))
	}
	c.word = word
	return nil
}
