package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/deploy/peers"
)

// server is a server of the run.
type server struct {
	peers.Server
	zones map[*zone]bool // that it serves
}

// contender is a server that may take part. Each is set to what makes it most
// like the others: UDP replies of 1232 octets at most, no rate limit, no
// identity, no transfers.
type contender struct {
	name    string
	program string // looked for in PATH; portolan is the built one
	lacks   trait  // zones that it cannot serve
	omits   uint16 // a type that its zones go without
	flat    bool   // it serves no zone that is below another one
	native  func(record) bool
	takes   func(dir string, z *zone, file string) error // whether it loads a zone; nil: all that do not have what it lacks
	start   func(ctx context.Context, s *server, dir string, zones []served) error
}

// served is a zone and its file.
type served struct {
	*zone
	file string
}

func contenders(program string) []contender {
	return []contender{
		{name: "portolan", program: program, native: byName, start: func(ctx context.Context, s *server, dir string, zones []served) error {
			return startPortolan(ctx, program, s, dir, zones)
		}},
		{name: "nsd", program: "nsd", native: byName, start: startNSD},
		{name: "knot", program: "knotd", native: byName, start: startKnot},
		{name: "bind", program: "named", native: byName, start: startBIND},
		{name: "gdnsd", program: "gdnsd", lacks: hasDNAME | hasLoop | hasHuge | hasOdd | isRoot, omits: typeDS, flat: true,
			native: gdnsdNames, takes: gdnsdTakes, start: startGdnsd},
	}
}

// byName has every type that has a name written by it, but for some of the
// data that come in generic form (RFC 3597 5: known types may).
func byName(r record) bool {
	return layouts[r.rtype].name != "" && (r.ttl != 0 || r.rtype == typeSOA || r.rtype == typeNS)
}

// gdnsdNames are the types that gdnsd knows by name; it reads those in no
// other form.
func gdnsdNames(r record) bool {
	return slices.Contains([]uint16{typeA, typeNS, typeCNAME, typeSOA, typePTR, typeMX, typeTXT, typeAAAA, typeSRV, typeNAPTR}, r.rtype)
}

// launch starts a server with the zones that it takes, and waits until it
// answers for each. It is nil, with the reason told, for one that is not
// installed.
func launch(ctx context.Context, c *contender, w *world, dir string, tell func(string, ...any)) (*server, error) {
	if _, err := exec.LookPath(c.program); err != nil {
		tell("%s: skipped, %s is not installed", c.name, c.program)
		return nil, nil
	}
	addr, err := peers.FreePort()
	if err != nil {
		return nil, err
	}
	s := &server{Server: peers.Server{Name: c.name, Addr: addr}, zones: map[*zone]bool{}}
	zones, err := c.write(w, dir, tell)
	if err != nil {
		return nil, err
	}
	for _, z := range zones {
		s.zones[z.zone] = true
	}
	if err := c.start(ctx, s, dir, zones); err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	if err := s.Ready(ctx, func() error { return s.serves(zones) }); err != nil {
		return s, errors.Join(err, fmt.Errorf("it said: %s", s.Said()))
	}
	return s, nil
}

// write writes the zones' files and gives those that the server takes.
func (c *contender) write(w *world, dir string, tell func(string, ...any)) ([]served, error) {
	var zones []served
	for i := range w.zones {
		if c.flat && w.seed%2 == 1 {
			i = len(w.zones) - 1 - i // now those above, now those below
		}
		z := w.zones[i]
		if z.traits&c.lacks != 0 || c.flat && slices.ContainsFunc(zones, z.related) {
			tell("%s: not given zone %s", c.name, z.apex)
			continue
		}
		text := z.file(c.native, c.omits)
		if c.takes != nil {
			if err := c.takes(dir, z, text); err != nil {
				tell("%s: does not take zone %s: %v", c.name, z.apex, err)
				continue
			}
		}
		file := fmt.Sprintf("zones/z%d.zone", i)
		if c.name == "gdnsd" {
			file = "zones/" + strings.TrimSuffix(z.apex.String(), ".")
		}
		if err := peers.WriteFiles(dir, map[string]string{file: text}); err != nil {
			return nil, err
		}
		zones = append(zones, served{z, filepath.Join(dir, file)})
	}
	return zones, nil
}

// related says whether one of two zones is below the other.
func (z *zone) related(other served) bool {
	a, b := z.apex.lower(), other.apex.lower()
	return a.in(b) || b.in(a)
}

// serves says whether a server answers for all its zones.
func (s *server) serves(zones []served) error {
	c := &caller{server: s.Addr}
	defer c.close()
	for _, z := range zones {
		r, err := c.ask(&query{name: z.apex, rtype: typeSOA, class: classIN}, true)
		if err != nil {
			return err
		}
		if r.silent || !r.has(flagAA) || len(r.sections[answerSection]) != 1 {
			return fmt.Errorf("zone %s is not served: %s", z.apex, r.text(&query{}))
		}
	}
	return nil
}

func startPortolan(ctx context.Context, program string, s *server, dir string, zones []served) error {
	s.Version = peers.FirstLine(program, "version")
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndns:\n  listeners: [{address: %q}]\n  udpSize: %d\nzones:\n", s.Addr, udpSize)
	for _, z := range zones {
		fmt.Fprintf(&b, "  - {name: %q, file: %q}\n", z.apex, z.file)
	}
	if err := peers.WriteFiles(dir, map[string]string{"portolan.yaml": b.String()}); err != nil {
		return err
	}
	return s.Start(peers.Command(ctx, program, "serve", "-c", filepath.Join(dir, "portolan.yaml"),
		"--state", filepath.Join(dir, "state"), "--socket", filepath.Join(dir, "api.sock"), "--log-level", "warn"))
}

func startNSD(ctx context.Context, s *server, dir string, zones []served) error {
	s.Version = peers.FirstLine("nsd", "-v")
	var b strings.Builder
	fmt.Fprintf(&b, `server:
    ip-address: %[2]s@%[3]d
    username: ""
    zonesdir: "%[1]s"
    database: ""
    pidfile: "%[1]s/pid"
    xfrdfile: "%[1]s/xfrd"
    zonelistfile: "%[1]s/zonelist"
    server-count: 1
    ipv4-edns-size: %[4]d
    rrl-ratelimit: 0
    rrl-whitelist-ratelimit: 0
    hide-version: yes
    hide-identity: yes
    tcp-count: 100
remote-control:
    control-enable: no
`, dir, s.Addr.Addr(), s.Addr.Port(), udpSize)
	for _, z := range zones {
		fmt.Fprintf(&b, "zone:\n    name: \"%s\"\n    zonefile: \"%s\"\n", z.apex, z.file)
	}
	if err := peers.WriteFiles(dir, map[string]string{"nsd.conf": b.String()}); err != nil {
		return err
	}
	return s.Start(peers.Command(ctx, "nsd", "-d", "-c", filepath.Join(dir, "nsd.conf")))
}

func startKnot(ctx context.Context, s *server, dir string, zones []served) error {
	s.Version = peers.FirstLine("knotd", "-V")
	var b strings.Builder
	fmt.Fprintf(&b, `server:
    rundir: %[1]q
    listen: "%[2]s@%[3]d"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    udp-max-payload: %[4]d
    tcp-max-clients: 100
    identity: ""
    version: ""
control:
    listen: "%[1]s/knot.sock"
log:
  - target: stderr
    any: warning
database:
    storage: %[1]q
template:
  - id: default
    zonefile-sync: -1
    journal-content: none
zone:
`, dir, s.Addr.Addr(), s.Addr.Port(), udpSize)
	for _, z := range zones {
		fmt.Fprintf(&b, "  - domain: %s\n    file: %q\n", z.apex, z.file)
	}
	if err := peers.WriteFiles(dir, map[string]string{"knot.conf": b.String()}); err != nil {
		return err
	}
	return s.Start(peers.Command(ctx, "knotd", "-c", filepath.Join(dir, "knot.conf")))
}

// startBIND: the checks are off that keep odd zones from being loaded, and the
// answers are not made small, or its additional records could not be compared.
func startBIND(ctx context.Context, s *server, dir string, zones []served) error {
	s.Version = peers.FirstLine("named", "-v")
	var b strings.Builder
	fmt.Fprintf(&b, `options {
	directory %[1]q;
	listen-on port %[3]d { %[2]s; };
	listen-on-v6 { none; };
	pid-file none;
	session-keyfile none;
	recursion no;
	allow-transfer { none; };
	notify no;
	dnssec-validation no;
	empty-zones-enable no;
	minimal-responses no-auth;
	zero-no-soa-ttl no;
	edns-udp-size %[4]d;
	max-udp-size %[4]d;
	version none;
	hostname none;
	check-names primary ignore;
	check-integrity no;
	check-mx ignore;
	check-mx-cname ignore;
	check-srv-cname ignore;
	check-spf ignore;
	check-sibling no;
	check-wildcard no;
	max-records-per-type 0;
	max-types-per-name 0;
};
controls {};
`, dir, s.Addr.Addr(), s.Addr.Port(), udpSize)
	for _, z := range zones {
		fmt.Fprintf(&b, "zone \"%s\" { type primary; file %q; };\n", z.apex, z.file)
	}
	if err := peers.WriteFiles(dir, map[string]string{"named.conf": b.String()}); err != nil {
		return err
	}
	return s.Start(peers.Command(ctx, "named", "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf")))
}

func gdnsdConfig(listen, dir string) string {
	return fmt.Sprintf("options => {\n listen => %s\n udp_threads => 1\n tcp_threads => 1\n max_edns_response => %d\n max_ncache_ttl => 86400\n run_dir => %s/run\n state_dir => %s/state\n}\n",
		listen, udpSize, dir, dir)
}

// gdnsdTakes has gdnsd check one zone by itself.
func gdnsdTakes(dir string, z *zone, file string) error {
	return peers.InTemp("portolan-differ-gdnsd-", func(dir string) error {
		name := "zones/" + strings.TrimSuffix(z.apex.String(), ".")
		if err := peers.WriteFiles(dir, map[string]string{"config": gdnsdConfig("127.0.0.1:5399", dir), name: file}); err != nil {
			return err
		}
		out, err := exec.Command("gdnsd", "-c", dir, "checkconf").CombinedOutput()
		if err == nil {
			return nil
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "error") || strings.Contains(line, "rfc1035") {
				return errors.New(strings.TrimSpace(line))
			}
		}
		return fmt.Errorf("%w: %s", err, out)
	})
}

func startGdnsd(ctx context.Context, s *server, dir string, _ []served) error {
	s.Version = peers.FirstLine("gdnsd", "-V")
	if err := peers.WriteFiles(dir, map[string]string{"config": gdnsdConfig(s.Addr.String(), dir)}); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o755); err != nil {
		return err
	}
	return s.Start(peers.Command(ctx, "gdnsd", "-c", dir, "start"))
}
