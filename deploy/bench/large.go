package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/deploy/peers"
)

const (
	largeNames = 10_000
	largePools = 1_000
)

// large is the configuration that check and reload are timed on: 10,000
// static records, 10,000 dynamic names, 1,000 pools, 2,000 virtual servers
// with a probe each. ttl is that of the first name, so that a reload can be
// seen from outside.
func large(addr netip.AddrPort, ttl int) map[string]string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndns:\n  listeners: [{address: %q}]\n  ecs: true\n", addr)
	fmt.Fprintf(&b, "zones:\n  - name: %s\n    file: zone\n    names:\n      - {name: d0, pool: p0, ttl: %ds}\n", zoneName, ttl)
	for i := 1; i < largeNames; i++ {
		fmt.Fprintf(&b, "      - {name: d%d, pool: p%d, ttl: 30s}\n", i, i%largePools)
	}
	b.WriteString("pools:\n")
	for i := range largePools {
		fmt.Fprintf(&b, "  - name: p%d\n    preferred: topology\n    alternate: round-robin\n", i)
		fmt.Fprintf(&b, "    members: [{virtualServer: a%d, weight: 3}, {virtualServer: b%d}]\n", i, i)
	}
	b.WriteString("virtualServers:\n")
	for i := range largePools {
		for n, letter := range []string{"a", "b"} {
			fmt.Fprintf(&b, "  - {name: %s%d, address: 10.%d.%d.%d, port: 80, probes: [alive]}\n", letter, i, n, i/250, i%250+1)
		}
	}
	// One target: what is timed is the configuration, not 2,000 probes.
	fmt.Fprintf(&b, "probes: [{name: alive, kind: dns, queryName: s0.%s, target: %q}]\n", zoneName, addr)
	b.WriteString("topology: [{client: 127.0.0.0/8, prefer: {prefix: 10.0.0.0/16}}, {prefer: {prefix: 10.1.0.0/16}}]\n")
	return map[string]string{"portolan.yaml": b.String(), "zone": newWorld(largeNames, 0).zone(nil)}
}

// checkLarge times portolan check as an operator runs it.
func checkLarge(ctx context.Context, o *options) error {
	return peers.InTemp("portolan-bench-", func(dir string) error {
		if err := peers.WriteFiles(dir, large(netip.MustParseAddrPort("127.0.0.1:5300"), 30)); err != nil {
			return err
		}
		var took, used []float64
		for range o.rounds {
			start := time.Now()
			cmd := exec.CommandContext(ctx, o.program, "check", filepath.Join(dir, "portolan.yaml"))
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("portolan check: %w: %.500s", err, out)
			}
			took = append(took, time.Since(start).Seconds())
			used = append(used, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
		}
		s, cpu := spreadOf(took), spreadOf(used)
		fmt.Printf("portolan check, %d records, %d names, %d pools: %.2f s (%.2f-%.2f), CPU %.2f s (%.2f-%.2f), %d runs; goal: under 1 s\n",
			largeNames, largeNames, largePools, s.median, s.low, s.high, cpu.median, cpu.low, cpu.high, len(took))
		return nil
	})
}
