package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/portolan-lb/portolan/deploy/peers"
)

// starter writes a server's configuration of a world into a folder and starts
// it there. Probes go to a port of the members.
type starter func(ctx context.Context, w *world, dir string, s *server, probePort int) error

// contender is a server that may take part.
type contender struct {
	name    string
	program string // looked for in PATH; portolan is the built one
	geoOnly bool
	start   starter
}

var others = []contender{
	{name: "gdnsd", program: "gdnsd", start: startGdnsd},
	{name: "knot", program: "knotd", geoOnly: true, start: startKnot},
}

func portolan(name, program string) contender {
	return contender{name: name, program: program, start: func(ctx context.Context, w *world, dir string, s *server, port int) error {
		return startPortolan(ctx, program, w, dir, s, port)
	}}
}

func startPortolan(ctx context.Context, program string, w *world, dir string, s *server, port int) error {
	s.Version = peers.FirstLine(program, "version")
	if err := peers.WriteFiles(dir, portolanFiles(w, s.Addr, port)); err != nil {
		return err
	}
	return s.serve(ctx, program, dir)
}

// serve starts portolan in a folder that holds its configuration.
func (s *server) serve(ctx context.Context, program, dir string) error {
	return s.run(ctx, program, "serve", "-c", filepath.Join(dir, "portolan.yaml"),
		"--state", filepath.Join(dir, "state"), "--socket", filepath.Join(dir, "api.sock"), "--log-level", "warn")
}

func portolanFiles(w *world, addr netip.AddrPort, port int) map[string]string {
	var b, sites, isps, places, rules strings.Builder
	fmt.Fprintf(&b, "version: 1\ndns:\n  listeners: [{address: %q}]\n  ecs: true\n", addr)
	fmt.Fprintf(&b, "zones:\n  - name: %s\n    file: zone\n    names:\n", zoneName)
	for i := range w.names {
		fmt.Fprintf(&b, "      - {name: %s, pool: p%d, ttl: 30s}\n", w.dynamic(i), i)
	}
	b.WriteString("pools:\n")
	for i := range w.names {
		fmt.Fprintf(&b, "  - name: p%d\n    preferred: topology\n", i)
		b.WriteString("    fallback: random\n    members:\n")
		for _, region := range regions {
			for m, weight := range weights {
				fmt.Fprintf(&b, "      - {virtualServer: %s-%d, weight: %d}\n", region, m, weight)
			}
		}
	}
	b.WriteString("virtualServers:\n")
	for r, region := range regions {
		for m := range weights {
			fmt.Fprintf(&b, "  - {name: %s-%d, address: %s, port: %d, site: %s, probes: [alive]}\n", region, m, member(r, m), port, region)
		}
		fmt.Fprintf(&sites, "  - {name: %s}\n", region)
		fmt.Fprintf(&isps, "  - {name: %s, prefixFile: %s.txt}\n", region, region)
		fmt.Fprintf(&places, "  - {name: %s, any: [{isp: %s}]}\n", region, region)
		fmt.Fprintf(&rules, "  - {region: %s, prefer: {site: %s}}\n", region, region)
	}
	b.WriteString("probes: [{name: alive, kind: tcp, interval: 5s, timeout: 1s, fall: 1, rise: 1}]\n")
	fmt.Fprintf(&b, "sites:\n%sisps:\n%sregions:\n%stopology:\n%s", &sites, &isps, &places, &rules)
	files := map[string]string{"portolan.yaml": b.String(), "zone": w.zone(nil)}
	for r, region := range regions {
		var list strings.Builder
		for _, p := range w.list {
			if w.nets[p] == r {
				fmt.Fprintln(&list, p)
			}
		}
		files[region+".txt"] = list.String()
	}
	return files
}

// startGdnsd: plugin geoip with a file of networks, whose datacenters are
// resources of plugin weighted, monitored by plugin tcp_connect.
func startGdnsd(ctx context.Context, w *world, dir string, s *server, port int) error {
	s.Version = peers.FirstLine("gdnsd", "-V")
	var b, nets strings.Builder
	fmt.Fprintf(&b, "options => {\n listen => %s\n udp_threads => 1\n tcp_threads => 1\n", s.Addr)
	fmt.Fprintf(&b, " run_dir => %s/run\n state_dir => %s/state\n}\n", dir, dir)
	fmt.Fprintf(&b, "service_types => { alive => { plugin => tcp_connect, port => %d, interval => 5, timeout => 1, up_thresh => 1, ok_thresh => 1, down_thresh => 1 } }\n", port)
	fmt.Fprintf(&b, "plugins => {\n tcp_connect => {}\n weighted => {\n  service_types => alive\n  up_thresh => 0.1\n")
	for i := range w.names {
		for r, region := range regions {
			fmt.Fprintf(&b, "  p%d-%s => {", i, region)
			for m, weight := range weights {
				fmt.Fprintf(&b, " m%d => [ %s, %d ]", m, member(r, m), weight)
			}
			b.WriteString(" }\n")
		}
	}
	fmt.Fprintf(&b, " }\n geoip => {\n  maps => { clients => { datacenters => [ %s ], nets => nets } }\n  resources => {\n", order(0))
	for i := range w.names {
		fmt.Fprintf(&b, "   p%d => { map => clients, dcmap => {", i)
		for _, region := range regions {
			fmt.Fprintf(&b, " %s => %%weighted!p%d-%s", region, i, region)
		}
		b.WriteString(" } }\n")
	}
	b.WriteString("  }\n }\n}\n")
	for _, p := range w.list {
		fmt.Fprintf(&nets, "%s => [ %s ]\n", p, order(w.nets[p]))
	}
	zone := w.zone(func(i int) string { return fmt.Sprintf("%s 30 DYNA geoip!p%d", w.dynamic(i), i) })
	err := peers.WriteFiles(dir, map[string]string{"config": b.String(), "geoip/nets": nets.String(), "zones/" + zoneName: zone})
	if err != nil {
		return err
	}
	return s.run(ctx, "gdnsd", "-c", dir, "start")
}

// startKnot: module geoip, which chooses by a database, here of our own
// making; with a network list it would want the whole list for every name. It
// knows no weights beside places, and no health.
func startKnot(ctx context.Context, w *world, dir string, s *server, _ int) error {
	s.Version = peers.FirstLine("knotd", "-V")
	var names strings.Builder
	for i := range w.names {
		fmt.Fprintf(&names, "%s.%s:\n", w.dynamic(i), zoneName)
		for r := range regions {
			fmt.Fprintf(&names, "  - geo: \"%s\"\n    A: %s\n", regions[r], member(r, 0))
		}
	}
	conf := fmt.Sprintf(`server:
    rundir: %[1]q
    listen: "%[2]s@%[3]d"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    edns-client-subnet: on
control:
    listen: "%[1]s/knot.sock"
log:
  - target: stderr
    any: warning
database:
    storage: %[1]q
mod-geoip:
  - id: clients
    config-file: "%[1]s/names"
    ttl: 30
    mode: geodb
    geodb-file: "%[1]s/clients.mmdb"
    geodb-key: region
zone:
  - domain: %[4]s
    file: "%[1]s/zone"
    zonefile-sync: -1
    journal-content: none
    module: mod-geoip/clients
`, dir, s.Addr.Addr(), s.Addr.Port(), zoneName)
	if err := peers.WriteFiles(dir, map[string]string{"knot.conf": conf, "names": names.String(), "zone": w.zone(nil)}); err != nil {
		return err
	}
	if err := writeDatabase(filepath.Join(dir, "clients.mmdb"), w); err != nil {
		return err
	}
	return s.run(ctx, "knotd", "-c", filepath.Join(dir, "knot.conf"))
}

// writeDatabase writes the map of clients as a MaxMind database. Networks go
// in from the shortest to the longest: a later one cuts its part out of those
// before.
func writeDatabase(file string, w *world) (err error) {
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "portolan-bench", RecordSize: 28, IncludeReservedNetworks: true})
	if err != nil {
		return err
	}
	for _, p := range w.list {
		if err := insert(tree, p, regions[w.nets[p]]); err != nil {
			return err
		}
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := tree.WriteTo(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

func insert(tree *mmdbwriter.Tree, p netip.Prefix, region string) error {
	ip := net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	return tree.Insert(&ip, mmdbtype.Map{"region": mmdbtype.String(region)})
}
