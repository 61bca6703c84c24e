package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	flows "github.com/portolan-lb/portolan/flow"
)

const explainFlowManual = `Tell what becomes of a connection: which virtual server and which rule of its
policy take it and which do not and why, whether persistence or proximity know
a link or a server for it, who takes part in the link group or server farm and
why others do not, and each way that it may take, with its share, link, server,
destination, source address and route. It is made from the tables that the
kernel was given and the entries that are in them now, and has no effect on
anything.

Of a connection to a virtual server over a farm it also tells who else would
have taken it, and why one of several goes first; and the counters of those who
serve or refuse it.

A connection that conntrack knows is told as what it is: its next packet stays
on its link and with its server. Limits of connections are taken as not reached;
what happens over them is told beside.

--from is the client's address, with a port if it matters (some hashes look at
it). --to is where it goes to: an address with a port and a protocol, as in
8.8.8.8:443/udp; tcp if only a port is given, icmp without one. --in is the
interface that it comes in by; without it that of outbound.interfaces in whose
network the client is, else the first of them. To a virtual server over a farm it
is the one in whose network the client is, or by which he is reached. What comes
from an address of this machine is its own. --all lists every rule that the
packet comes to.

With -c the configuration is judged offline: nothing has been probed, measured
or learnt then.

Exit codes: 0 it is explained, whatever becomes of it; 1 this node balances no
connections; 2 the question makes no sense, or there is nobody to ask.`

func explainFlowCommand() *cobra.Command {
	var from, to, in, config string
	var all bool
	var output *choice
	cmd := &cobra.Command{
		Use:   "flow",
		Short: "Tell which link or server a connection takes, and why",
		Long:  explainFlowManual,
		Example: `  portolan explain flow --from 10.0.0.5 --to 8.8.8.8:443
  portolan explain flow --from 10.0.0.5:40000 --to 8.8.8.8:53/udp --in lan0 --all
  portolan explain flow --from 203.0.113.9 --to 198.51.100.10:443/tcp --in wan0
  portolan explain flow --from fd00::5 --to 2001:db8::1 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := api.ParseFlow(from, to, in)
			if err != nil {
				return err
			}
			e, err := explainFlow(cmd, q, config)
			if err != nil {
				return err
			}
			if output.word == "json" {
				return printJSON(cmd.OutOrStdout(), e)
			}
			return e.WriteText(cmd.OutOrStdout(), all)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the client's address, with or without a port (required)")
	cmd.Flags().StringVar(&to, "to", "", "where it goes to, such as 8.8.8.8:443/tcp (required)")
	cmd.Flags().StringVar(&in, "in", "", "the interface that it comes in by")
	cmd.Flags().BoolVar(&all, "all", false, "list every rule that the packet comes to")
	cmd.Flags().StringVarP(&config, "config", "c", "", "ask this configuration offline instead of the running server")
	output = outputFlag(cmd, "text", "json")
	_ = cmd.MarkFlagRequired("from") // the flags are defined above
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

func explainFlow(cmd *cobra.Command, q flows.Question, config string) (*flows.Explanation, error) {
	if config == "" {
		c, err := dial(cmd)
		if err != nil {
			return nil, err
		}
		return c.ExplainFlow(cmd.Context(), q)
	}
	built, errs, err := build(config)
	if err != nil {
		return nil, err
	}
	if built == nil || errs.Failed() {
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), errs.Render())
		return nil, exit(2)
	}
	return built.ExplainFlow(cmd.Context(), q)
}
