package daemon

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsserver"
	"github.com/portolan-lb/portolan/status"
)

// monitorDoor is the TCP port for metrics and health. It is there for those who
// watch: whatever becomes of it, DNS is served.
type monitorDoor struct {
	wanted config.Metrics // as at start
	open   bool
}

// openDoors opens the API's socket and the port for metrics, as far as they
// are wanted.
func (d *Daemon) openDoors(ctx context.Context, g *errgroup.Group) error {
	server := api.New(d.apiOptions())
	d.openMonitor(ctx, g, server) // first: who comes by the socket asks how it went
	if d.opts.Socket == "" {
		return nil
	}
	switch l, err := api.Listen(d.opts.Socket); {
	case err == nil:
		g.Go(func() error { return server.Serve(ctx, l) })
	case !d.opts.TrySocket:
		return err
	default:
		d.log.Warn("no API, so only SIGHUP reloads: name a place with --socket", "err", err)
	}
	return nil
}

// openMonitor opens the port for metrics and health. If it cannot be opened, or
// fails later, that is told and DNS goes on.
func (d *Daemon) openMonitor(ctx context.Context, g *errgroup.Group, server *api.Server) {
	d.monitor.wanted = d.running.Load().Model.Metrics
	address := d.monitor.wanted.Address
	if !address.IsValid() {
		return
	}
	l, err := net.Listen("tcp", address.String())
	if err != nil {
		d.noMonitor(address, err)
		return
	}
	d.monitor.open = true
	g.Go(func() error {
		err := server.ServeMonitor(ctx, l)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			d.log.Warn("at the end, on the port for metrics", "err", err)
		default:
			d.noMonitor(address, err)
		}
		return nil
	})
}

// noMonitor tells that nobody answers on the port for metrics.
func (d *Daemon) noMonitor(address netip.AddrPort, err error) {
	d.log.Error("NO METRICS AND NO HEALTH ON THEIR PORT: metrics.address cannot be served; DNS is", "address", address, "err", err)
	d.board.Record(status.Event{ID: "metrics", New: "failed", Why: err.Error(), By: "daemon"})
}

// changed says that a restart would open another port than the one of start,
// or try again to.
func (m *monitorDoor) changed(to config.Metrics) bool {
	return to != m.wanted && (m.open || to.Address.IsValid())
}

// canMonitor says whether a restart could open the port of m, by opening it
// now. What this process holds itself is not in its way then, and not tried.
func (d *Daemon) canMonitor(m config.Metrics) error {
	if !m.Address.IsValid() {
		return nil
	}
	_, own := d.dns.Addrs()
	if d.monitor.open {
		own = append(own, d.monitor.wanted.Address)
	}
	for _, a := range own {
		if a.Port() == m.Address.Port() && dnsserver.Meet(a.Addr(), m.Address.Addr()) {
			return nil
		}
	}
	l, err := net.Listen("tcp", m.Address.String())
	if err != nil {
		return err
	}
	return l.Close()
}

// needRestart warns of changes that only a restart takes into use, and of those
// with which a restart goes wrong: sockets are opened once.
func (d *Daemon) needRestart(m *config.Model) (errs config.Errors) {
	warn := func(path, text string) {
		errs = append(errs, &config.Error{Warning: true, Path: path, Text: text})
	}
	const later = " changed: sockets are opened at start, so this needs a restart"
	if !d.dns.SameListeners(m.DNS.Listeners) {
		warn("", "dns.listeners"+later)
		if err := d.dns.CanListen(m.DNS.Listeners); err != nil {
			warn("dns.listeners", "THE NEXT START WILL FAIL: "+oneLine(err))
		}
	}
	if !d.dns.SameSockets(m.DNS.UDPSockets) {
		warn("", "dns.udpSockets"+later)
	}
	switch {
	case d.monitor.changed(m.Metrics):
		warn("", "metrics"+later)
	case m.Metrics == d.monitor.wanted && m.Metrics.Address.IsValid() && !d.monitor.open:
		warn("metrics.address", "the port could not be opened at start: nobody answers there until a restart")
	}
	if err := d.canMonitor(m.Metrics); err != nil {
		warn("metrics.address", "THE NEXT START WILL BE WITHOUT METRICS: "+oneLine(err))
	}
	return errs
}

// cannotStart refuses listeners and a port for metrics that the next start
// could not open. A port for metrics that this start could not open either is
// no news, and stands in the way of no other change.
func (d *Daemon) cannotStart(m *config.Model, file string) (errs config.Errors) {
	if err := d.dns.CanListen(m.DNS.Listeners); err != nil {
		errs = append(errs, &config.Error{Pos: config.Pos{File: file}, Path: "dns.listeners", Text: "the next start would fail: " + oneLine(err)})
	}
	if m.Metrics == d.monitor.wanted {
		return errs
	}
	if err := d.canMonitor(m.Metrics); err != nil {
		errs = append(errs, &config.Error{Pos: config.Pos{File: file}, Path: "metrics.address", Text: "the next start would be without metrics: " + oneLine(err)})
	}
	return errs
}

// oneLine gives an error that joins others in a line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
