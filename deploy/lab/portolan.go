package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/deploy/peers"
)

// portolan is the real program, in the gateway.
type portolan struct {
	*lab
	program string
	api     *client.Client
	costs   map[string]int // of links
	server  peers.Server
}

//go:embed portolan.yaml.tmpl
var configuration string

const zoneFile = `$TTL 1h
@	IN SOA ns1 hostmaster 1 1h 10m 1w 10s
@	IN NS ns1
@	IN NS ns2
`

// start starts the program and waits until it can do its work.
func (p *portolan) start(ctx context.Context, group *errgroup.Group) error {
	if p.program = p.options.program; p.program == "" {
		p.program = p.file("portolan")
		if err := p.make(ctx); err != nil {
			return err
		}
	}
	p.costs = map[string]int{telecom: 10, unicom: 10}
	if err := p.write(); err != nil {
		return err
	}
	p.api = client.New(p.file("portolan.sock"))
	p.server.Name = "portolan"
	cmd := peers.Command(ctx, p.program, "serve", "-c", p.file("portolan.yaml"), "--state", p.file("state"), "--socket", p.file("portolan.sock"))
	cmd.SysProcAttr.Setpgid = true // Ctrl-C is ours; it ends when ctx does
	var err error
	p.spaces[gateway].do(func() { err = p.server.Start(cmd) })
	if err != nil {
		return fmt.Errorf("start portolan: %w", err)
	}
	group.Go(func() error {
		p.server.Wait()
		if ctx.Err() == nil {
			return fmt.Errorf("portolan ended: %s", p.server.Said())
		}
		return nil
	})
	return p.server.Ready(ctx, func() error {
		r, err := p.api.Ready(ctx)
		if err == nil && !r.Ready {
			err = fmt.Errorf("not ready: %v", r.NotReady)
		}
		return err
	})
}

// make builds the program from this tree.
func (p *portolan) make(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", p.program, "github.com/portolan-lb/portolan/cmd/portolan")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build portolan: %w: %s", err, out)
	}
	return nil
}

// write writes the configuration as the lab stands now.
func (p *portolan) write() error {
	type virtual struct{ Name, Addr4, Addr6, Site, Link string }
	type shelf struct {
		Name, Addr4, Addr6 string
		Weight             int
	}
	type link struct {
		Name   string
		Source netip.Addr
		Cost   int
	}
	type network struct {
		Net4, Net6 netip.Prefix
		Link       string
	}
	data := struct {
		*options
		Listeners                            []netip.AddrPort
		Servers                              []string
		VirtualServers                       []virtual
		Links                                []link
		Clients                              []network
		TTL, Window, WarmUp, Refresh         string
		Bandwidth, Rate, Recovery, Direction string
		Silent4, Silent6                     netip.Prefix
		Uplinks                              []uplink
		Keep                                 netip.Prefix
		Standby, Ramp                        time.Duration
		RackName                             string
		Rack4, Rack6                         netip.Addr
		Racks                                []shelf
		RackInterval, RackTimeout            time.Duration
	}{options: p.options, Uplinks: p.uplinks(), Keep: netip.PrefixFrom(p.worldServer(128), 25), Standby: standby, Ramp: ramp, RackName: rackVirtual, RackInterval: rackInterval, RackTimeout: rackTimeout, Silent4: p.net4(netSchool), Silent6: p.net6(netSchool), TTL: p.ttl.String(), Window: p.window.String(), WarmUp: p.warmUp.String(), Refresh: p.refresh.String(),
		Direction: p.direction, Bandwidth: p.bandwidth.String(), Rate: p.rate.String(), Recovery: p.recovery.String()}
	for _, i := range isps {
		for _, a := range []netip.Addr{p.addr4(i.public, hostDNS), p.addr6(i.public, hostDNS)} {
			data.Listeners = append(data.Listeners, netip.AddrPortFrom(a, uint16(p.dns)))
		}
		data.Links = append(data.Links, link{i.name, p.addr4(i.transit, hostBehind), p.costs[i.name]})
	}
	for _, v := range virtualServers(p.options) {
		data.Servers = append(data.Servers, v.name)
		data.VirtualServers = append(data.VirtualServers, virtual{v.name, v.addr4.String(), v.addr6.String(), v.site, v.link})
	}
	data.Rack4, data.Rack6 = p.rackAddresses()
	for n, v := range rackServers(p.options) {
		data.Racks = append(data.Racks, shelf{v.name, v.addr4.String(), v.addr6.String(), rackWeight(n + 1)})
	}
	for _, c := range clients {
		data.Clients = append(data.Clients, network{p.net4(c.net), p.net6(c.net), c.isp})
	}
	t, err := template.New("portolan.yaml").Parse(configuration)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, data); err != nil {
		return err
	}
	zone := zoneFile
	for n, i := range isps {
		zone += fmt.Sprintf("ns%d\tIN A %s\nns%d\tIN AAAA %s\n", n+1, p.addr4(i.public, hostDNS), n+1, p.addr6(i.public, hostDNS))
	}
	return errors.Join(os.WriteFile(p.file("portolan.yaml"), text.Bytes(), 0o644), os.WriteFile(p.file("lab.example.zone"), []byte(zone), 0o644))
}

// uplink is a link of the office, as the configuration has it.
type uplink struct {
	Name     string
	Source   netip.Addr
	Resolver netip.Addr
	Weight   int
}

func (p *portolan) uplinks() (all []uplink) {
	for _, u := range uplinks {
		all = append(all, uplink{u.name, p.addr4(u.transit, hostBehind), p.addr4(u.transit, hostResolver), u.weight})
	}
	return all
}

// command runs a command of the program against the one that serves.
func (p *portolan) command(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.program, args...)
	cmd.Env = append(os.Environ(), "PORTOLAN_SOCKET="+p.file("portolan.sock"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %v: %w: %s", filepath.Base(p.program), args, err, out)
	}
	return string(out), nil
}

// setCost changes the cost of a link, by portolan apply.
func (p *portolan) setCost(ctx context.Context, link string, cost int) error {
	if _, ok := p.costs[link]; !ok {
		return fmt.Errorf("there is no link %s", link)
	}
	before := p.costs[link]
	p.costs[link] = cost
	err := p.write()
	if err == nil {
		_, err = p.command(ctx, "apply", p.file("portolan.yaml"))
	}
	if err != nil {
		p.costs[link] = before
	}
	return err
}
