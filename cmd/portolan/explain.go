package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/daemon"
	"github.com/portolan-lb/portolan/dnsserver"
)

const explainManual = `Tell, step by step, how a question of a client is answered: which address
counts, which topology rules match, who takes part in the pool and why others
do not, what each slot makes of it, where TTL and ECS scope come from. It is
made by the code that answers, and has no effect on the next answer.

NAME is a full domain name, TYPE a record type (A unless given). --client is the
address that the query comes from: the resolver's, with --ecs for the client
that it asks for. --down judges as if rows were down that are not.

With -c the configuration is judged offline: nothing has been probed then.

With --proxy it is not our own answer that is explained, but what becomes of a
query of a client of this gateway: which policy of the DNS proxy takes it, which
DNS server it goes to, over which link, and who would be next. --asked is the
address that the client sends it to, which counts where a policy lets it pass.

Exit codes: 0 it is explained, whatever the answer; 1 a row of --down does not
exist; 2 the question makes no sense, or there is nobody to ask.`

func explainCommand() *cobra.Command {
	var client, ecs, config, asked string
	var proxy bool
	var output *choice
	var down []string
	cmd := &cobra.Command{
		Use:   "explain NAME [TYPE]",
		Short: "Tell why a client gets the answer that it gets",
		Long:  explainManual,
		Example: `  portolan explain www.example.com --client 203.0.113.7
  portolan explain www.example.com AAAA --client 192.0.2.53 --ecs 203.0.113.0/24
  portolan explain www.example.com --client 203.0.113.7 --down virtualServer/web-west
  portolan explain www.example.com --client 203.0.113.7 -c portolan.yaml -o json
  portolan explain www.example.com --client 10.0.0.5 --proxy --asked 8.8.8.8`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if proxy {
				return explainProxy(cmd, args[0], strings.Join(args[1:], ""), client, asked, output.word == "json")
			}
			if asked != "" {
				return errors.New("--asked goes with --proxy only")
			}
			q, err := api.ParseExplainQuery(args[0], strings.Join(args[1:], ""), client, ecs, down)
			if err != nil {
				return err
			}
			e, err := explain(cmd, q, config)
			if err != nil {
				return err
			}
			if output.word == "json" {
				return printJSON(cmd.OutOrStdout(), e)
			}
			return e.WriteText(cmd.OutOrStdout(), time.Now())
		},
	}
	cmd.Flags().StringVar(&client, "client", "", "address that the query comes from (required)")
	cmd.Flags().StringVar(&ecs, "ecs", "", "the query's Client Subnet, a prefix")
	cmd.Flags().StringArrayVar(&down, "down", nil, "as if this row were down, such as virtualServer/web; may be repeated")
	cmd.Flags().StringVarP(&config, "config", "c", "", "ask this configuration offline instead of the running server")
	cmd.Flags().BoolVar(&proxy, "proxy", false, "what the DNS proxy does with a query of a client of this gateway")
	cmd.Flags().StringVar(&asked, "asked", "", "with --proxy: the address that the client sends it to")
	for _, other := range []string{"ecs", "down", "config"} {
		cmd.MarkFlagsMutuallyExclusive("proxy", other)
	}
	output = outputFlag(cmd, "text", "json")
	_ = cmd.MarkFlagRequired("client") // the flag is defined above
	cmd.AddCommand(explainFlowCommand())
	return cmd
}

func explain(cmd *cobra.Command, q api.ExplainQuery, config string) (*dnsserver.Explanation, error) {
	if config == "" {
		c, err := dial(cmd)
		if err != nil {
			return nil, err
		}
		var e dnsserver.Explanation
		return &e, c.Explain(cmd.Context(), q, &e)
	}
	built, errs, err := build(config)
	if err != nil {
		return nil, err
	}
	if built == nil || errs.Failed() {
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), errs.Render())
		return nil, exit(2)
	}
	for _, id := range q.Down {
		if _, ok := built.Rows().Lookup(id); !ok {
			return nil, api.Errorf(api.NotFound, "down %q: there is no such row", id)
		}
	}
	return built.Explain(built.Rows(), nil, daemon.Query(q))
}
