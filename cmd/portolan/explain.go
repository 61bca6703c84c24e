package main

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/daemon"
	"github.com/portolan-lb/portolan/dnsserver"
	"github.com/portolan-lb/portolan/status"
)

func explainCommand() *cobra.Command {
	var clientText, ecs, config, output string
	var down []string
	cmd := &cobra.Command{
		Use:   "explain NAME [TYPE]",
		Short: "Tell why a client gets the answer that it gets",
		Long: `Tell, step by step, how a question of a client is answered: which address
counts, which topology rules match, who takes part in the pool and why others
do not, what each slot makes of it, where TTL and ECS scope come from. It is
made by the code that answers, and has no effect on the next answer.

With -c the configuration is judged offline: nothing has been probed then.`,
		Example: `  portolan explain www.example.com --client 203.0.113.7
  portolan explain www.example.com AAAA --client 192.0.2.53 --ecs 203.0.113.0/24
  portolan explain www.example.com --client 203.0.113.7 --down virtualServer/web-west
  portolan explain www.example.com --client 203.0.113.7 -c portolan.yaml -o json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := query(args, clientText, ecs, down)
			if err != nil {
				return err
			}
			e, err := explain(cmd, q, config)
			if err != nil {
				return err
			}
			switch output {
			case "json":
				return printJSON(cmd.OutOrStdout(), e)
			case "text":
				return e.WriteText(cmd.OutOrStdout(), time.Now())
			}
			return badOutput(output, "text", "json")
		},
	}
	cmd.Flags().StringVar(&clientText, "client", "", "address that the query comes from (required)")
	cmd.Flags().StringVar(&ecs, "ecs", "", "the query's Client Subnet, a prefix")
	cmd.Flags().StringArrayVar(&down, "down", nil, "as if this row were down, such as virtualServer/web; may be repeated")
	cmd.Flags().StringVarP(&config, "config", "c", "", "ask this configuration offline instead of the running server")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	_ = cmd.MarkFlagRequired("client") // the flag is defined above
	return cmd
}

func query(args []string, clientText, ecs string, down []string) (q daemon.Query, err error) {
	q = daemon.Query{Name: args[0], Type: "A"}
	if len(args) > 1 {
		q.Type = strings.ToUpper(args[1])
	}
	if q.Client, err = netip.ParseAddr(clientText); err != nil {
		return q, fmt.Errorf("--client %q is no IP address", clientText)
	}
	if ecs != "" {
		if q.ECS, err = parsePrefix(ecs); err != nil {
			return q, fmt.Errorf("--ecs %q is no prefix, such as 203.0.113.0/24", ecs)
		}
	}
	for _, id := range down {
		q.Down = append(q.Down, status.ID(id))
	}
	return q, nil
}

// parsePrefix takes an address as the prefix of its full length.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(s)
}

func explain(cmd *cobra.Command, q daemon.Query, config string) (*dnsserver.Explanation, error) {
	if config == "" {
		c, err := dial(cmd)
		if err != nil {
			return nil, err
		}
		var e dnsserver.Explanation
		return &e, c.Explain(cmd.Context(), api.ExplainQuery(q), &e)
	}
	built, errs, err := build(config)
	if err != nil {
		return nil, err
	}
	if built == nil || errs.Failed() {
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), errs.Render())
		return nil, exit(2)
	}
	return built.Explain(built.Rows(), q)
}
