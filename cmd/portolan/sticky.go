package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
)

func stickyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sticky",
		Short: "Look at which clients keep which link or server, and have that forgotten",
		Long: `Look at the entries of persistence: which client keeps which link in which link
group, or which real server of a farm, and for how long. Packets write them into
the kernel's maps; they are there whether this program runs or not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return see(cmd, errors.New("sticky needs one of list and clear"))
		},
	}
	cmd.AddCommand(stickyListCommand(), stickyClearCommand())
	return cmd
}

func stickyListCommand() *cobra.Command {
	o := getOptions{}
	var output *choice
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List which client keeps which link or server",
		Long: `List entries: all, or those of --group and --link; or those of --virtualserver,
--farm and --server; of the clients inside --client or in the network around it.

Exit codes: 0 they are listed, even if there are none; 1 this node balances no
connections, or there is no such thing; 2 the question makes no sense, or there is
no server to ask.`,
		Example: `  portolan sticky list --client 10.0.0.5
  portolan sticky list --group internet --link cable -o json
  portolan sticky list --virtualserver shop`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, _ := findListing("sticky")
			return l.print(cmd, o, output.word == "json")
		},
	}
	stickyFlags(cmd, &o)
	cmd.Flags().UintVar(&o.limit, "limit", 50, "at most so many; 0: 100000")
	output = outputFlag(cmd, "table", "json")
	return cmd
}

func stickyFlags(cmd *cobra.Command, o *getOptions) {
	cmd.Flags().StringVar(&o.group, "group", "", "of this link group only")
	cmd.Flags().StringVar(&o.link, "link", "", "of clients that keep this link only")
	cmd.Flags().StringVar(&o.client, "client", "", "of clients inside this network, or of this address")
	serverFlags(cmd, o, "")
	_ = cmd.RegisterFlagCompletionFunc("link", completeLink) // the flags are defined above
	_ = cmd.RegisterFlagCompletionFunc("group", completeGroup)
}

func stickyClearCommand() *cobra.Command {
	o := getOptions{}
	var reason string
	var all bool
	var output *choice
	cmd := &cobra.Command{
		Use:   "clear [--group NAME] [--link NAME] [--virtualserver NAME] [--farm NAME] [--server FARM/NAME] [--client NETWORK] | --all --reason TEXT",
		Short: "Have it forgotten which client keeps which link or server",
		Long: `Have entries forgotten: those that all of the flags mean, or --all. Connections
that there are stay where they are. The next new connection of such a client is
given a link, or a server, as if it were its first, and makes an entry anew.

An entry may stand for a network, by the persistence's mask: then --client with
one address of it forgets it for all of them.

Exit codes: 0 they are forgotten, also where there were none; 1 this node balances
no connections, or there is no such thing; 2 the request makes no sense, or there
is no server to ask.`,
		Example: `  portolan sticky clear --client 10.0.0.5 --reason "his bank does not like the other line"
  portolan sticky clear --link cable --reason "spread them again after the works"
  portolan sticky clear --server shop/10.0.0.3 --reason "spread its clients"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := o.stickyWords().Query()
			if err != nil {
				return err
			}
			if err := api.GoodClearing(q != (api.StickyQuery{}), all); err != nil {
				return err
			}
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			done, err := c.ClearSticky(cmd.Context(), q, reason)
			switch {
			case err != nil:
				return err
			case output.word == "json":
				return printJSON(cmd.OutOrStdout(), done)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), entries(done.Entries), "forgotten")
			return err
		},
	}
	stickyFlags(cmd, &o)
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.Flags().StringVar(&reason, "reason", "", "why (required)")
	output = outputFlag(cmd, "text", "json")
	_ = cmd.MarkFlagRequired("reason") // the flag is defined above
	return cmd
}
