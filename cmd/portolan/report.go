package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/config"
)

// reportFlags is what may be reported.
type reportFlags struct {
	connections     int64
	latency, length time.Duration
	addresses       []string           // of DNS servers
	rates           map[string]*string // by flag
	octets          map[string]*uint64
	bits            int
}

// reporters is what may report: which flags go with it, and how it is sent.
var reporters = map[string]struct {
	kind  string
	flags []string
	send  func(ctx context.Context, c *client.Client, name string, f *reportFlags, given func(string) bool) (string, error)
}{
	"virtualserver": {"virtualServer", []string{"connections", "latency", "for"}, sendServer},
	"link":          {"link", []string{"in", "out", "total", "in-octets", "out-octets", "bits"}, sendRate},
	"dns":           {"dns", []string{"for"}, sendDNS},
}

func reportCommand() *cobra.Command {
	f := reportFlags{rates: map[string]*string{}, octets: map[string]*uint64{}}
	cmd := &cobra.Command{
		Use:   "report KIND/NAME [ADDRESS...]",
		Short: "Report connections of a virtual server, what a link carries, or its DNS servers",
		Long: `Report what this server cannot measure itself. A report takes the place of the
one before: what it does not tell is unknown. A report that is too old is
unknown as well, so repeat it.

  virtualServer/NAME  --connections N: connections that are open now. At
                      maxConnections or above the virtual server is full.
                      --latency TIME: until the first byte of an answer.
                      Either counts for --for, 30s unless said otherwise.
  link/NAME           --in, --out, --total RATE: what is received from the line,
                      sent into it, or both together, such as 80Mbps. Or
                      --in-octets and --out-octets: counters, of which two
                      reports make a rate. The link must have meter: push, and
                      a report counts for its meter.maxAge.
  dns/LINK ADDRESS... the DNS servers that a link was given, for DNS servers with
                      auto: true. They go before all else that is known of the
                      link for --for, 1h unless said otherwise. Without an
                      address, what was reported is taken back.

Exit codes: 0 it is taken, 1 there is no such thing, or it is measured
otherwise, 2 the report makes no sense, or there is no server to ask.`,
		Example: `  portolan report virtualServer/web-east --connections 120 --latency 8ms
  portolan report link/isp1 --in 80Mbps --out 20Mbps
  portolan report dns/isp1 198.51.100.53 2001:db8::53 --for 12h`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeReport,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.addresses = args[1:]
			text, err := f.send(cmd, args[0])
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text+"\n")
			return err
		},
	}
	flags := cmd.Flags()
	flags.Int64Var(&f.connections, "connections", 0, "connections that are open now")
	flags.DurationVar(&f.latency, "latency", 0, "until the first byte of an answer, such as 8ms")
	flags.DurationVar(&f.length, "for", 0, "how long the report counts (default 30s, of dns 1h)")
	for _, d := range []struct{ name, usage string }{{"in", "received from the line"}, {"out", "sent into the line"}, {"total", "in and out together"}} {
		f.rates[d.name] = flags.String(d.name, "", d.usage+", such as 80Mbps")
	}
	f.octets["in-octets"] = flags.Uint64("in-octets", 0, "counter of octets received from the line")
	f.octets["out-octets"] = flags.Uint64("out-octets", 0, "counter of octets sent into the line")
	flags.IntVar(&f.bits, "bits", 64, "what the counters wrap at: 32 or 64")
	return cmd
}

// send sends a report and says what became of it.
func (f *reportFlags) send(cmd *cobra.Command, thing string) (string, error) {
	kind, name, ok := strings.Cut(thing, "/")
	r, known := reporters[strings.ToLower(kind)]
	if !ok || name == "" || !known {
		return "", fmt.Errorf("%q is not what reports are of: virtualServer/NAME, link/NAME or dns/LINK", thing)
	}
	if len(f.addresses) > 0 && r.kind != "dns" {
		return "", fmt.Errorf("%q: addresses go with dns/LINK only", f.addresses[0])
	}
	for _, other := range reporters {
		for _, flag := range other.flags {
			if other.kind != r.kind && cmd.Flags().Changed(flag) && !slices.Contains(r.flags, flag) {
				return "", fmt.Errorf("--%s goes with %s/NAME only", flag, other.kind)
			}
		}
	}
	c, err := dial(cmd)
	if err != nil {
		return "", err
	}
	return r.send(cmd.Context(), c, name, f, cmd.Flags().Changed)
}

func sendServer(ctx context.Context, c *client.Client, name string, f *reportFlags, given func(string) bool) (string, error) {
	var req api.ServerReportRequest
	if given("connections") {
		req.Connections = &f.connections
	}
	if given("latency") {
		req.Latency = (*config.Duration)(&f.latency)
	}
	if given("for") {
		req.For = (*config.Duration)(&f.length)
	}
	if f.latency < 0 || f.length < 0 {
		return "", fmt.Errorf("a time below zero was not meant")
	}
	done, err := c.ReportServer(ctx, name, req)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s is known until %s", done.ID, done.Until.Local().Format(time.RFC3339))
	if done.Full {
		text += "; it is full"
	}
	return text + before(": ", done.Why), nil
}

func sendRate(ctx context.Context, c *client.Client, name string, f *reportFlags, given func(string) bool) (string, error) {
	req := api.RateReport{}
	for flag, into := range map[string]**config.Bandwidth{"in": &req.In, "out": &req.Out, "total": &req.Total} {
		if !given(flag) {
			continue
		}
		*into = new(config.Bandwidth)
		if err := (*into).UnmarshalText([]byte(*f.rates[flag])); err != nil {
			return "", fmt.Errorf("--%s: %w", flag, err)
		}
	}
	in, out := given("in-octets"), given("out-octets")
	switch {
	case in != out:
		return "", fmt.Errorf("--in-octets and --out-octets belong together")
	case in:
		req.Counters = &api.Octets{In: *f.octets["in-octets"], Out: *f.octets["out-octets"], Bits: f.bits}
	case given("bits"):
		return "", fmt.Errorf("--bits goes with --in-octets and --out-octets")
	}
	done, err := c.ReportRate(ctx, name, req)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is known for %s", done.ID, done.MaxAge), nil
}

// completeReport completes what can report.
func completeReport(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, noFiles
	}
	var things []string
	for prefix, kind := range map[string]string{"virtualServer": "virtualServer", "link": "link", "dns": "link"} {
		for _, name := range namesOf(cmd, kind) {
			things = append(things, prefix+"/"+name)
		}
	}
	slices.Sort(things)
	return things, noFiles
}
