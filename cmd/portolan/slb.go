package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/traffic"
)

// slbListings is what a node has to show that serves virtual servers.
var slbListings = []listing{
	{"serverFarm", []int{0}, []string{"farms", "farm", "serverfarms", "serverfarm"}, []string{"FARM", "STATE", "FOR", "ALGORITHM", "SHARES", "LEFT OUT", "CONNECTIONS", "USED BY", "WHY"}, of(fetchFarms, farmRow)},
	{"realServer", []int{0}, []string{"realservers", "realserver", "rs"}, []string{"REAL SERVER", "STATE", "FOR", "ACTIVE", "ADDRESS", "WEIGHT", "PRIORITY", "SHARE", "CONNECTIONS", "IN", "OUT", "EVIDENCE"}, of(fetchRealServers, realServerRow)},
	{"snatPool", []int{0}, []string{"snatpools", "snatpool"}, []string{"SNAT POOL", "STATE", "FOR", "ADDRESSES", "PORTS IN USE", "FAILED", "FARMS", "EVIDENCE"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.SNATPool, error) {
			return c.SNATPools(ctx)
		}, snatPoolRow)},
	{"slb", []int{0, 1}, []string{"slb"}, []string{"KIND", "NAME", "OUTCOME", "CONNECTIONS", "OCTETS", "LAST", "DOES"}, of(fetchServed, servedRow)},
}

// slbManual is what get's manual says of them.
const slbManual = `  farms           server farms: up, down (not available, so that backup has its
                  turn) or unused; which servers take part with which share of new
                  connections, and which do not and why
  realservers     servers of every farm, or of --farm: state, whether they take part,
                  weight (- counts: this algorithm does not look at it), share,
                  connections (? where nothing goes by them), what flows to
                  them and from them, where anybody looks; the evidence
  snatpools       how many ports of an address are in use where it is tightest, and
                  connections that found none
  slb             how many new connections each virtual server, policy rule, farm and
                  real server had, and what became of them: taken; limited (over
                  limits), dropped, none (nobody of the farm lives), busy (all are at
                  a limit), full (at a limit, so another was tried); when that moved
                  last: --virtualserver, --farm, --server`

// serverFlags are those that narrow what is shown to virtual servers, farms and
// real servers.
func serverFlags(cmd *cobra.Command, o *getOptions, kinds string) {
	cmd.Flags().StringVar(&o.virtualServer, "virtualserver", "", kinds+"of this virtual server only")
	cmd.Flags().StringVar(&o.farm, "farm", "", kinds+"of this server farm only")
	cmd.Flags().StringVar(&o.server, "server", "", kinds+"of this real server only, FARM/NAME")
	for flag, kind := range map[string]string{"virtualserver": "virtualservers", "farm": "farms", "server": "realservers"} {
		_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return namesOf(cmd, kind), noFiles
		}) // the flags are defined above
	}
}

// limitSaid is the limit of lists of what is configured: as many as may be, unless
// one was asked for.
func (o getOptions) limitSaid() (int, error) {
	if !o.said || o.limit == 0 {
		return 0, nil
	}
	if o.limit > api.MaxListed {
		return 0, api.Errorf(api.Invalid, "limit %d is more than %d; ask for fewer by virtual server or farm", o.limit, api.MaxListed)
	}
	return int(o.limit), nil
}

func fetchFarms(ctx context.Context, c *client.Client, o getOptions) ([]api.Farm, error) {
	limit, err := o.limitSaid()
	if err != nil {
		return nil, err
	}
	l, err := c.Farms(ctx, limit)
	o.more(l.More, len(l.Farms))
	return l.Farms, err
}

func fetchRealServers(ctx context.Context, c *client.Client, o getOptions) ([]api.RealServer, error) {
	limit, err := o.limitSaid()
	if err != nil {
		return nil, err
	}
	l, err := c.RealServers(ctx, o.farm, limit)
	o.more(l.More, len(l.Servers))
	return l.Servers, err
}

func fetchServed(ctx context.Context, c *client.Client, o getOptions) ([]traffic.Hit, error) {
	q := api.CounterQuery{VirtualServer: o.virtualServer}
	var err error
	if q.Limit, err = o.limitSaid(); err != nil {
		return nil, err
	}
	if q.Farm, q.Server, err = api.FarmAndServer(o.farm, o.server); err != nil {
		return nil, err
	}
	l, err := c.Served(ctx, q)
	o.more(l.More, len(l.Counters))
	return l.Counters, err
}

// maxInCell is how many things a cell of a table names.
const maxInCell = 6

// several is the first of a list, and how many more there are.
func several(list []string) string {
	if more := len(list) - maxInCell; more > 0 {
		return strings.Join(list[:maxInCell], ", ") + fmt.Sprintf(" +%d", more)
	}
	return strings.Join(list, ", ")
}

func farmRow(f api.Farm, o getOptions) []string {
	var shares, out []string
	for i := range f.Servers {
		switch s := &f.Servers[i]; {
		case !s.Active:
			out = append(out, s.Server+" "+outOf(s)+before(" ", left(s.Until, o.now)))
		case s.State != "up" && s.State != "unknown":
			shares = append(shares, fmt.Sprintf("%s %s (%s)", s.Server, percent(s.Share), s.State+before(" ", left(s.Until, o.now))))
		default:
			shares = append(shares, s.Server+" "+percent(s.Share))
		}
	}
	state := f.State
	if f.Lapsed {
		state += " busy"
	}
	if f.Row.Hold != nil {
		state += " (held " + f.Row.Hold.State.String() + ")"
	}
	since, why := "", f.Why
	if f.State != "unused" {
		since = age(f.Row.Since, o.now)
	}
	if why == "" || f.Row.Hold != nil {
		why = evidence(f.Row)
	}
	return []string{f.Name, state, since, f.Algorithm, several(shares), several(out), count(f.Connections, f.State != "unused"), several(f.VirtualServers), why}
}

// outOf is a word or two for why a server takes no part.
func outOf(s *api.ServerInFarm) string {
	switch {
	case s.State != "up" && s.State != "unknown":
		return s.State
	case s.Weight == 0:
		return "reserve"
	}
	return fmt.Sprintf("priority %d", s.Priority)
}

// percent is a share without needless digits: of many servers each has little.
func percent(share float64) string {
	if share > 0 && share < 10 {
		return fmt.Sprintf("%.2g%%", share)
	}
	return fmt.Sprintf("%.0f%%", share)
}

// count is a number of connections; "?" if nobody counts what is there.
func count(n *int, used bool) string {
	switch {
	case n != nil:
		return fmt.Sprint(*n)
	case used:
		return "?"
	}
	return ""
}

func realServerRow(r api.RealServer, o getOptions) []string {
	active := "no"
	if r.Active {
		active = "yes"
	}
	weight := fmt.Sprint(r.Weight)
	if !r.WeightCounts && r.Weight > 0 {
		weight = "- (" + weight + ")"
	}
	connections := count(r.Connections, true)
	if r.MaxConnections > 0 {
		connections += fmt.Sprintf(" of %d", r.MaxConnections)
	}
	why := evidence(r.Row)
	if r.Why != "" && r.State != "held" && r.State != "down" {
		why = r.Why
	}
	return []string{r.Name, r.State + before(" ", left(r.Until, o.now)), age(r.Row.Since, o.now), active, addressOf(r), weight, fmt.Sprint(r.Priority),
		percent(r.Share), connections, flowing(r.Load.In), flowing(r.Load.Out), why}
}

func addressOf(r api.RealServer) string {
	var list []string
	for _, a := range r.Addresses {
		switch {
		case r.Port == 0:
			list = append(list, a.String())
		case a.Is6():
			list = append(list, fmt.Sprintf("[%s]:%d", a, r.Port))
		default:
			list = append(list, fmt.Sprintf("%s:%d", a, r.Port))
		}
	}
	text := strings.Join(list, " ")
	if r.Host != "" {
		text = r.Host + before(" ", text)
	}
	return text
}

// flowing is a rate, with the part of maxBandwidth that it is.
func flowing(d *api.Direction) string {
	switch {
	case d == nil:
		return ""
	case d.Share != nil && !math.IsNaN(*d.Share):
		return fmt.Sprintf("%s, %.0f%%", rate(d.Rate), *d.Share)
	}
	return rate(d.Rate)
}

func snatPoolRow(p api.SNATPool, o getOptions) []string {
	addresses := make([]string, len(p.Addresses))
	for i, r := range p.Addresses {
		addresses[i] = r.String()
	}
	use := fmt.Sprintf("%d of %d", p.InUse, p.Ports)
	if p.Towards != "" {
		use += fmt.Sprintf(" of %s towards %s", p.Tightest, p.Towards)
	}
	return []string{p.Name, p.State, age(p.Row.Since, o.now), several(addresses), use, fmt.Sprint(p.Failed), several(p.Farms), evidence(p.Row)}
}

func servedRow(h traffic.Hit, o getOptions) []string {
	return []string{h.Kind, h.Name, h.What, fmt.Sprint(h.Connections), fmt.Sprint(h.Octets), age(h.Last, o.now), h.Does}
}

// servesText is what get virtualservers says of one that this node serves itself.
func servesText(s *api.Served) string {
	if s == nil {
		return ""
	}
	text := string(s.Type)
	if len(s.Ports) > 0 {
		ports := make([]string, len(s.Ports))
		for i, p := range s.Ports {
			ports[i] = p.String()
		}
		text += " " + strings.Join(ports, ",")
	}
	var does []string
	for _, part := range [][2]string{{"policy ", s.Policy}, {"farm ", s.Farm}, {"backup ", s.Backup}, {"persistence ", s.Persistence}} {
		if part[1] != "" {
			does = append(does, part[0]+part[1])
		}
	}
	text += ": " + orNothing(strings.Join(does, ", "))
	if len(s.NotInEffect) > 0 {
		text += "; not in effect: " + strings.Join(s.NotInEffect, ", ")
	}
	return text
}

func orNothing(text string) string {
	if text == "" {
		return "nothing (it drops what comes)"
	}
	return text
}
