package main

import (
	"flag"
	"fmt"
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// options are the flags: everything that the scenes rest on, so that they can
// be run with other addresses, thresholds and loads.
type options struct {
	program string // portolan; empty: it is built
	dns     int    // port of DNS

	v4, v6 netip.Prefix // all addresses of the lab are of these

	bandwidth config.Bandwidth // maxBandwidth of each link
	direction string           // that it is of, and that loads take: total (they go out), in, out
	rate      config.Percent   // busy above
	recovery  config.Percent   // free below
	window    config.Duration  // of the meter
	load      config.Bandwidth // what fills a link
	crossings int              // how often scene fill does

	uplink, peering, far time.Duration // delays each way
	warmUp, refresh      config.Duration
	ttl                  config.Duration
}

// defaults suit two busy cores.
func (o *options) register(f *flag.FlagSet) {
	f.StringVar(&o.program, "portolan", "", "the program to run (default: it is built from this tree)")
	f.IntVar(&o.dns, "port", 53, "of DNS in the gateway")
	f.TextVar(&o.v4, "v4", netip.MustParsePrefix("198.18.0.0/16"), "IPv4 addresses of the lab, a /16 (RFC 2544)")
	f.TextVar(&o.v6, "v6", netip.MustParsePrefix("2001:db8:1ab::/48"), "IPv6 addresses of the lab, a /48 (RFC 3849)")
	f.TextVar(&o.bandwidth, "bandwidth", config.Bandwidth(20e6), "maxBandwidth of each link")
	f.StringVar(&o.direction, "direction", "total", "that it is of and that loads take: total (they go out), in, out")
	f.TextVar(&o.rate, "rate", config.Percent(70), "a link is busy above this share of it")
	f.TextVar(&o.recovery, "recovery", config.Percent(30), "and free again below this share")
	f.TextVar(&o.window, "window", config.Duration(time.Second), "over which rates are measured, 1s to 300s")
	f.TextVar(&o.load, "load", config.Bandwidth(30e6), "what the scenes fill a link with, octets of frames")
	f.IntVar(&o.crossings, "crossings", 1, "how often the scene fill does so, 1 to 100, each at a random moment")
	f.DurationVar(&o.uplink, "uplink", 5*time.Millisecond, "delay each way between the gateway and each ISP")
	f.DurationVar(&o.peering, "peering", 30*time.Millisecond, "delay each way between the ISPs")
	f.DurationVar(&o.far, "far", 80*time.Millisecond, "delay each way that the scene latency moves an uplink to")
	f.TextVar(&o.warmUp, "warmup", config.Duration(2*time.Second), "an entry of proximity counts so long after it was made, 1s to 1m")
	f.TextVar(&o.refresh, "refresh", config.Duration(10*time.Second), "proximity measures again what is older, 10s to 24h")
	f.TextVar(&o.ttl, "ttl", config.Duration(5*time.Second), "of the dynamic names")
}

// check refuses what the scenes cannot work with.
func (o *options) check() error {
	busy, free := o.mark(o.rate), o.mark(o.recovery)
	switch {
	case !o.v4.Addr().Is4() || o.v4.Bits() != 16:
		return fmt.Errorf("-v4 %s is not an IPv4 /16", o.v4)
	case !o.v6.Addr().Is6() || o.v6.Bits() != 48:
		return fmt.Errorf("-v6 %s is not an IPv6 /48", o.v6)
	case o.direction != "total" && o.direction != "in" && o.direction != "out":
		return fmt.Errorf("-direction %s is not total, in or out", o.direction)
	case o.rate < 1 || o.recovery < 1 || o.recovery > o.rate:
		return fmt.Errorf("-recovery %s and -rate %s: want 1%% <= recovery <= rate", o.recovery, o.rate)
	case float64(o.load) < 1.1*float64(busy):
		return fmt.Errorf("-load %s is not a tenth above %s, where a link of %s becomes busy", o.load, busy, o.bandwidth)
	case o.crossings < 1 || o.crossings > 100:
		return fmt.Errorf("-crossings %d is not between 1 and 100", o.crossings)
	case o.load > maxLoad:
		return fmt.Errorf("-load %s is above %s, which the lab's wires carry without loss", o.load, maxLoad)
	case o.peering < 10*time.Millisecond || o.peering < o.uplink:
		return fmt.Errorf("-peering %s: want at least 10ms, and no less than -uplink %s, so that one link is nearer to a client than the other", o.peering, o.uplink)
	case 2*o.far < 3*(o.uplink+o.peering) || o.far > maxDelay:
		return fmt.Errorf("-far %s: want at least half as much again as -uplink and -peering together, %s, and at most %s", o.far, o.uplink+o.peering, maxDelay)
	case free < 200e3:
		return fmt.Errorf("-bandwidth %s: a link would never be free again; what the lab's probes and queries need is up to 200kbps", o.bandwidth)
	}
	return nil
}

// mark gives a share of a link.
func (o *options) mark(share config.Percent) config.Bandwidth {
	return o.bandwidth * config.Bandwidth(share) / 100
}

// addr4 gives host h of network n: 198.18.n.h.
func (o *options) addr4(n, h int) netip.Addr {
	b := o.v4.Masked().Addr().As4()
	b[2], b[3] = byte(n), byte(h)
	return netip.AddrFrom4(b)
}

// addr6 gives host h of network n: 2001:db8:1ab:nn00::h, each network a /56.
func (o *options) addr6(n, h int) netip.Addr {
	b := o.v6.Masked().Addr().As16()
	b[6], b[15] = byte(n), byte(h)
	return netip.AddrFrom16(b)
}

// net4 and net6 give network n whole.
func (o *options) net4(n int) netip.Prefix { return netip.PrefixFrom(o.addr4(n, 0), 24) }
func (o *options) net6(n int) netip.Prefix { return netip.PrefixFrom(o.addr6(n, 0), 56) }
