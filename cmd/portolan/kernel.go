package main

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/kernel"
)

func kernelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kernel",
		Short: "Look at what Linux was told, and take it all back",
		Long: `Look at what Portolan has set up in Linux or would set up, and take it all back:
tables of nftables, rules of the routing policy, routes, addresses and shapers.
What is Portolan's is told by its name (table inet portolan_outbound), by the
protocol number of routes, rules and addresses (proto 80, 81, 82) and by the handle
of queues (5050:). Nothing else is ever touched.

Linux before 5.18 keeps no number of an address: there an address that Portolan
added is not known for its own after a restart, and has to be removed by hand.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return see(cmd, errors.New("kernel needs one of show and clean"))
		},
	}
	cmd.AddCommand(kernelShowCommand(), kernelCleanCommand())
	return cmd
}

const kernelShowManual = `Tell what of Linux' networking is Portolan's, a line each, whoever put it there
and whether or not a server runs.

With --dry-run, what a configuration would have there: the tables in the syntax
of nft, the rest as the commands that would do the same. Nothing is read from
Linux and nothing changed, so no privilege is needed.

Exit codes: 0 it is shown, even if it is nothing; 1 with --dry-run, the
configuration cannot be served; 2 it could not be read.`

func kernelShowCommand() *cobra.Command {
	var dry bool
	var config string
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Tell what of Linux' networking is Portolan's, or would be",
		Long:    kernelShowManual,
		Example: "  portolan kernel show\n  portolan kernel show --dry-run -c portolan.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case dry:
				return showWishes(cmd, config)
			case cmd.Flags().Changed("config"):
				return see(cmd, errors.New("-c goes with --dry-run"))
			}
			ours, err := kernel.Ours()
			if err != nil {
				return fmt.Errorf("looking at Linux (it needs CAP_NET_ADMIN): %w", err)
			}
			return printLines(cmd.OutOrStdout(), "", ours)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "what a configuration would have there instead")
	cmd.Flags().StringVarP(&config, "config", "c", envOr("PORTOLAN_CONFIG", defaultConfig), "the configuration, with --dry-run [PORTOLAN_CONFIG]")
	return cmd
}

// showWishes writes what a configuration would have Linux be like.
func showWishes(cmd *cobra.Command, config string) error {
	built, errs, err := build(config)
	if err != nil {
		return err
	}
	if built == nil || errs.Failed() {
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), errs.Render())
		return exit(1)
	}
	wishes, err := built.Wishes()
	if err != nil {
		return err
	}
	for _, o := range wishes {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "# %s\n%s%s", o.Owner, o.Wishes.Text(), o.Wishes.Commands(o.Owner)); err != nil {
			return err
		}
	}
	return nil
}

const kernelCleanManual = `Remove everything that "portolan kernel show" tells, and tell what was removed. It
is for a machine that Portolan has left, in order or not: serve leaves all of it
standing when it ends, so that Linux goes on forwarding. While serve runs it is
refused, for serve would put it all back.

Sysctls that repairSysctls has set stay as they are. So do the sessions that
there are; from now on they go where the routing table says.

Exit codes: 0 nothing is left; 1 serve runs; 2 it could not be done, or not all
of it.`

func kernelCleanCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:     "clean",
		Short:   "Remove everything of Portolan's from Linux",
		Long:    kernelCleanManual,
		Example: "  portolan kernel clean --dry-run\n  portolan kernel clean",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				ours, err := kernel.Ours()
				if err != nil {
					return fmt.Errorf("looking at Linux (it needs CAP_NET_ADMIN): %w", err)
				}
				return printLines(cmd.OutOrStdout(), "would remove ", ours)
			}
			if socket, runs := serves(cmd); runs {
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "portolan: serve answers on %s and would put it all back: stop it first\n", socket)
				return exit(1)
			}
			removed, err := kernel.Clean()
			if err := errors.Join(printLines(cmd.OutOrStdout(), "removed ", removed), err); err != nil {
				return fmt.Errorf("cleaning (it needs CAP_NET_ADMIN): %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would be removed, and remove nothing")
	return cmd
}

// serves tells whether somebody listens on the API socket.
func serves(cmd *cobra.Command) (socket string, runs bool) {
	socket, err := cmd.Flags().GetString("socket")
	if err != nil {
		return "", false
	}
	c, err := (&net.Dialer{}).DialContext(cmd.Context(), "unix", socket)
	if err != nil {
		return socket, false
	}
	_ = c.Close() // nothing was written
	return socket, true
}

func printLines(w io.Writer, before string, lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, before+line); err != nil {
			return err
		}
	}
	return nil
}
