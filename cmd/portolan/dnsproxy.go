package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

var dnsServerHeader = []string{"DNS SERVER", "STATE", "FOR", "LINK", "ADDRESSES", "ASKED BY", "POOLS", "QUERIES", "ANSWERS", "FAILED", "IGNORED", "LATENCY", "EVIDENCE"}

func dnsServerRow(d api.DNSServer, o getOptions) []string {
	var has []string
	for _, a := range d.Has {
		text := a.Address.String()
		if d.Auto {
			text += " (" + a.Source + ")"
		}
		has = append(has, text)
	}
	if len(has) == 0 {
		has = []string{"none"}
	}
	row := []string{d.Name, stateOf(d.Row), age(d.Row.Since, o.now), d.Link, strings.Join(has, " "), d.Protocol + " " + strconv.Itoa(int(d.Port)), strings.Join(d.Pools, " ")}
	if s := d.Stats; s != nil {
		latency := "?"
		if s.Latency > 0 {
			latency = s.Latency.Round(10 * time.Microsecond).String()
		}
		row = append(row, strconv.FormatUint(s.Queries, 10), strconv.FormatUint(s.Answers, 10), tally(s.Failures), tally(s.Ignored), latency)
	} else {
		row = append(row, "", "", "", "", "")
	}
	return append(row, evidence(d.Row))
}

// tally is counts by word, those that are not 0: "3: timeout 2, servfail 1".
func tally(counts map[string]uint64) string {
	sum, parts := uint64(0), []string{}
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[word]; n > 0 {
			sum += n
			parts = append(parts, fmt.Sprintf("%s %d", word, n))
		}
	}
	if sum == 0 {
		return "0"
	}
	return fmt.Sprintf("%d: %s", sum, strings.Join(parts, ", "))
}

// fetchDNSProxy tells how the DNS proxy stands, a line for each figure.
func fetchDNSProxy(ctx context.Context, c *client.Client, _ getOptions) (any, [][]string, error) {
	p, err := c.DNSProxy(ctx)
	if err != nil {
		return nil, nil, err
	}
	state := "listening on port " + strconv.Itoa(int(p.Listening.Port))
	switch {
	case !p.Enabled:
		state = "off: queries cross the gateway as they are"
	case p.Listening.Why != "":
		state = "NOT LISTENING, queries cross as they are: " + p.Listening.Why
	case p.Kernel.Health == status.Down:
		state += ", BUT LINUX IS NOT AS WISHED: " + p.Kernel.Why
	}
	s, number := &p.Stats, func(n uint64) string { return strconv.FormatUint(n, 10) }
	rows := [][]string{
		{"state", state},
		{"queries", tally(map[string]uint64{"udp": s.UDP, "tcp": s.TCP})},
		{"replies", tally(s.Replies)},
		{"dropped", tally(s.Dropped)},
		{"outstanding", strconv.FormatInt(s.Outstanding, 10)},
		{"out of the cache", tally(map[string]uint64{"fresh": s.Hits - s.Stale, "stale": s.Stale})},
		{"cache", fmt.Sprintf("%d answers, %d of %d octets, %d evicted", s.Cache.Entries, s.Cache.Bytes, s.Cache.Limit, s.Cache.Evicted)},
		{"asked together", number(s.Shared)},
		{"asked another server", number(s.Retries)},
		{"no server answered", number(s.Failed)},
		{"clients that keep a server", strconv.Itoa(s.Sticky)},
	}
	for _, r := range s.Policies {
		rows = append(rows, []string{"policy " + r.Name, number(r.Queries)})
	}
	return p, rows, nil
}

// explainProxy tells what the DNS proxy does with a query.
func explainProxy(cmd *cobra.Command, name, rtype, from, asked string, asJSON bool) error {
	a, err := api.ParseDNSQuery(name, rtype, from, asked)
	if err != nil {
		return err
	}
	c, err := dial(cmd)
	if err != nil {
		return err
	}
	e, err := c.ExplainDNSProxy(cmd.Context(), a)
	switch {
	case err != nil:
		return err
	case asJSON:
		return printJSON(cmd.OutOrStdout(), e)
	}
	_, err = io.WriteString(cmd.OutOrStdout(), e.Words)
	return err
}

func sendDNS(ctx context.Context, c *client.Client, name string, f *reportFlags, given func(string) bool) (string, error) {
	req := api.DNSReport{Addresses: []netip.Addr{}}
	for _, text := range f.addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return "", fmt.Errorf("%q is not an address", text)
		}
		req.Addresses = append(req.Addresses, a)
	}
	if given("for") {
		req.For = (*config.Duration)(&f.length)
	}
	if f.length < 0 {
		return "", fmt.Errorf("a time below zero was not meant")
	}
	done, err := c.ReportDNS(ctx, name, req)
	if err != nil {
		return "", err
	}
	return done.Told(), nil
}
