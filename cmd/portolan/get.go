package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// listing is one kind of thing that get shows.
type listing struct {
	kind   string   // as describe has it; empty: it cannot be described
	name   []int    // columns that make up the name, for completion
	words  []string // the kind as get has it, and other ways to write it
	header []string
	fetch  func(ctx context.Context, c *client.Client, o getOptions) (list any, rows [][]string, err error)
}

type getOptions struct {
	pool  string
	after uint64
	limit uint
	now   time.Time

	link, group, client         string
	virtualServer, farm, server string
	said                        bool              // --limit was given
	warn                        func(text string) // nil: nobody reads it
}

// more warns that there are more things than are shown.
func (o getOptions) more(are bool, limit int) {
	if are && o.warn != nil {
		o.warn(fmt.Sprintf("there are more than these %d: ask for fewer, or say --limit", limit))
	}
}

// of makes a listing's fetch from a call of the client and a row of a table.
func of[T any](call func(context.Context, *client.Client, getOptions) ([]T, error), row func(T, getOptions) []string) func(context.Context, *client.Client, getOptions) (any, [][]string, error) {
	return func(ctx context.Context, c *client.Client, o getOptions) (any, [][]string, error) {
		list, err := call(ctx, c, o)
		rows := make([][]string, len(list))
		for i, v := range list {
			rows[i] = row(v, o)
		}
		return list, rows, err
	}
}

var listings = append([]listing{
	{"pool", []int{0}, []string{"pools", "pool"}, []string{"POOL", "STATE", "ACTIVE", "MEMBERS", "SLOTS", "NAMES"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.Pool, error) { return c.Pools(ctx) }, poolRow)},
	{"member", []int{0, 1}, []string{"members", "member"}, []string{"POOL", "MEMBER", "STATE", "ACTIVE", "WEIGHT", "PRIORITY", "WHY"}, of(
		func(ctx context.Context, c *client.Client, o getOptions) ([]api.Member, error) {
			return c.Members(ctx, o.pool)
		}, memberRow)},
	{"virtualServer", []int{0}, []string{"virtualservers", "virtualserver", "vs"}, []string{"VIRTUAL SERVER", "STATE", "FOR", "ADDRESSES", "SITE", "LINK", "SERVES", "CONNECTIONS", "EVIDENCE"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.VirtualServer, error) {
			return c.VirtualServers(ctx)
		}, virtualServerRow)},
	{"link", []int{0}, []string{"links", "link"}, linkHeader, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.Link, error) { return c.Links(ctx) }, linkRow)},
	{"site", []int{0}, []string{"sites", "site"}, []string{"SITE", "STATE", "FOR", "VIRTUAL SERVERS", "EVIDENCE"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.Site, error) { return c.Sites(ctx) }, siteRow)},
	{"probe", []int{1, 0}, []string{"probes", "probe"}, []string{"PROBE", "TARGET", "KIND", "STATE", "FOR", "LAST RESULT"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]probe.History, error) {
			return c.Probes(ctx)
		}, probeRow)},
	{"zone", []int{0}, []string{"zones", "zone"}, []string{"ZONE", "STATE", "SERIAL", "RECORDS", "DYNAMIC NAMES", "ORIGIN", "FILE", "ERROR"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.Zone, error) { return c.Zones(ctx) }, zoneRow)},
	{"dnsServer", []int{0}, []string{"dnsservers", "dnsserver"}, dnsServerHeader, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.DNSServer, error) {
			return c.DNSServers(ctx)
		}, dnsServerRow)},
	{"", nil, []string{"dnsproxy"}, []string{"OF THE DNS PROXY", "VALUE"}, fetchDNSProxy},
	{"", []int{0}, []string{"holds", "hold"}, []string{"ROW", "HELD", "UNTIL", "BY", "REASON"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.Hold, error) { return c.Holds(ctx) }, holdRow)},
	{"", nil, []string{"events", "event"}, []string{"TIME", "ROW", "CHANGE", "BY", "WHY"}, of(
		func(ctx context.Context, c *client.Client, o getOptions) ([]status.Event, error) {
			return c.Events(ctx, o.after, int(min(o.limit, math.MaxInt32)))
		}, eventRow)},
}, slices.Concat(slbListings, outboundListings)...)

const getManual = `List things of a kind as they stand now. KIND is one of:

  pools           state (up; or why nobody takes part: full, down, held), who
                  takes part, slots, and the dynamic names that it answers
  members         of every pool, or of --pool: state, whether it takes part, why not
  virtualservers  health with its age, addresses, and the evidence; what this node
                  does with connections to those that it serves itself, and what of
                  that is not in effect; their connections (? where nothing goes by
                  them)
  links           health with its age; whether it is busy, or how many of 256
                  slices of clients it sheds, and since when; what it carries
                  in each direction (? is not known), the share of its
                  maxBandwidth, and above and below which share it is busy and
                  free; where that is measured; whom it affects; the evidence.
                  Of a gateway: its number in marks, its shares of link groups,
                  its connections (? where nothing goes by them), and the source
                  addresses of what leaves by it
  sites           health with its age, and the evidence
  probes          every target that is probed, and what was seen last
  zones           state (ok; last good: the file is bad now, an older version is
                  served; failed: not served), serial, where it comes from
                  (configuration, folder, or live: added by command), what is wrong
  dnsservers      DNS servers of the DNS proxy: health with its age, link,
                  addresses (those that are auto with who told them), how they
                  are asked, the evidence, and what became of queries
  dnsproxy        whether the DNS proxy takes queries, and what it counted:
                  queries, replies, drops, cache, retries, policies
  holds           operators' holds in force
  events          changes of health, holds and configuration, the newest last
` + slbManual + outboundManual + `

Health is up, down, or unknown (nothing says), which counts as usable. Waiting
means that the first result is still to come.`

func getCommand() *cobra.Command {
	var o getOptions
	var output *choice
	cmd := &cobra.Command{
		Use:               "get KIND",
		Short:             "List " + strings.Join(kindWords(), ", "),
		Long:              getManual,
		Example:           "  portolan get members --pool web\n  portolan get events --limit 10 -o json",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKind(kindWords()),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, ok := findListing(args[0])
			if !ok {
				return unknownKind(args[0], kindWords())
			}
			if err := fits(cmd, l); err != nil {
				return err
			}
			o.said = cmd.Flags().Changed("limit")
			return l.print(cmd, o, output.word == "json")
		},
	}
	cmd.Flags().StringVar(&o.pool, "pool", "", "members: of this pool only")
	cmd.Flags().Uint64Var(&o.after, "after", 0, "events: those after this number, the seq of -o json")
	cmd.Flags().UintVar(&o.limit, "limit", 50, "events: at most the newest so many; sessions, sticky: at most so many; farms, realservers, slb: all, unless given; 0 is as many as there may be")
	cmd.Flags().StringVar(&o.link, "link", "", "sessions, sticky: over this link only")
	cmd.Flags().StringVar(&o.client, "client", "", "sessions, sticky: of clients inside this network, or of this address")
	cmd.Flags().StringVar(&o.group, "group", "", "sticky: of this link group only")
	serverFlags(cmd, &o, "slb, sessions, sticky (of a farm realservers too): ")
	_ = cmd.RegisterFlagCompletionFunc("pool", completePool) // the flags are defined above
	_ = cmd.RegisterFlagCompletionFunc("link", completeLink)
	_ = cmd.RegisterFlagCompletionFunc("group", completeGroup)
	output = outputFlag(cmd, "table", "json")
	return cmd
}

// fits refuses a flag that says nothing of the kind that is asked for.
func fits(cmd *cobra.Command, l listing) error {
	for flag, kinds := range map[string][]string{"pool": {"members"}, "after": {"events"}, "limit": {"events", "sessions", "sticky", "farms", "realservers", "slb"},
		"link": {"sessions", "sticky"}, "client": {"sessions", "sticky"}, "group": {"sticky"},
		"virtualserver": {"slb", "sessions", "sticky"}, "farm": {"realservers", "slb", "sessions", "sticky"}, "server": {"slb", "sessions", "sticky"}} {
		if cmd.Flags().Changed(flag) && !slices.Contains(kinds, l.words[0]) {
			return fmt.Errorf("--%s goes with get %s only", flag, strings.Join(kinds, ", "))
		}
	}
	return nil
}

func (l listing) print(cmd *cobra.Command, o getOptions, asJSON bool) error {
	c, err := dial(cmd)
	if err != nil {
		return err
	}
	o.now = time.Now()
	o.warn = func(text string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), "portolan: "+text) }
	list, rows, err := l.fetch(cmd.Context(), c, o)
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(cmd.OutOrStdout(), list)
	default:
		return printTable(cmd.OutOrStdout(), l.header, rows)
	}
}

// kindWords is what get lists.
func kindWords() []string {
	words := make([]string, len(listings))
	for i, l := range listings {
		words[i] = l.words[0]
	}
	return words
}

func unknownKind(word string, kinds []string) error {
	hint := "; there are " + strings.Join(kinds, ", ")
	if like := api.Nearest(word, kinds); like != "" {
		hint = fmt.Sprintf("; did you mean %q?", like)
	}
	return fmt.Errorf("%q is not a kind%s", word, hint)
}

func findListing(word string) (listing, bool) {
	for _, l := range listings {
		for _, w := range l.words {
			if strings.EqualFold(w, word) {
				return l, true
			}
		}
	}
	return listing{}, false
}
