package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsproxy"
	"github.com/portolan-lb/portolan/dnsserver"
	"github.com/portolan-lb/portolan/link"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/proximity"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/store"
)

// Options of a Daemon.
type Options struct {
	Config    string           // path of the configuration, a file or a folder
	Zones     string           // folder of zones to serve without a configuration; then Config is empty
	Listen    []netip.AddrPort // with Zones: where DNS is served; empty: on the default address
	State     string           // folder for what is kept over a restart; empty: nothing is kept
	Socket    string           // path of the API's Unix socket; empty: no API
	Learn     string           // folder where programs keep what interfaces were given; default /run
	TrySocket bool             // serve without an API if the socket cannot be opened
	Log       *slog.Logger

	Ready func(d *Daemon) // called once everything is bound and serves; may be nil
}

// events is how many events are remembered.
const events = 10000

// Daemon is a running Portolan.
type Daemon struct {
	opts   Options
	log    *slog.Logger
	board  *status.Board
	prober *probe.Prober
	links  *link.Links
	dns    *dnsserver.Server
	report *reports
	store  *store.Store // nil: nothing is kept

	proximity *proximity.Table
	kept      bool // a file of distances holds some, so that it must follow when there are none
	measurer  *proximity.Prober
	passive   *proximity.Passive

	gateway gateway
	proxy   *dnsproxy.Proxy
	learner *dnsproxy.Learner
	// evidence holds the checks of each DNS server's addresses
	evidence atomic.Pointer[map[string]map[netip.Addr][]status.ID]
	marks    atomic.Pointer[outbound.Plan] // by which links are marked; nil: they are not
	numbers  map[string]uint16             // of links, as kept
	serving  l4.Numbers                    // of what is served, as kept
	named    map[string][]netip.Addr       // servers by name, as kept
	idle     []status.ID                   // rows of what is not served for want of the kernel

	monitor monitorDoor // written before anybody can ask for a change

	changing sync.Mutex                   // one change of the configuration at a time
	wanting  sync.Mutex                   // one plan of probes at a time; taken after changing
	home     zoneHome                     // of zones changed by command; nil: they cannot be kept
	shelf    *store.Shelf                 // their files
	live     map[string]*dnsserver.Loaded // those that a configuration does not hold, by apex
	running  atomic.Pointer[Built]
	state    atomic.Pointer[api.ConfigState]
}

// New makes a daemon. It reads and opens nothing yet.
func New(opts Options) *Daemon {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	d := &Daemon{opts: opts, log: opts.Log, board: status.NewBoard(events)}
	d.prober = probe.New(d.board, probe.Options{Log: d.log, ReadFile: func(ref string) ([]byte, error) {
		return d.running.Load().Model.Source().ReadFile(ref) // relative to the configuration
	}})
	d.state.Store(&api.ConfigState{})
	d.report = newReports(d.board)
	return d
}

// Run serves until ctx ends. It returns an error if it cannot start: no good
// configuration, a listener that cannot be opened.
func (d *Daemon) Run(ctx context.Context) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // from the first moment: its default is to end us
	defer signal.Stop(hangup)
	if err := d.openStore(); err != nil {
		return err
	}
	if d.store != nil {
		defer func() { _ = d.store.Close() }() // everything is saved by then
	}
	d.openZones()
	defer d.openGateway()()
	built, err := d.first()
	if err != nil {
		return err
	}
	d.restore(built)
	defer d.openLinks()()
	d.openProximity()
	d.openProxy()
	d.dns = dnsserver.New(dnsserver.Options{Listeners: built.Model.DNS.Listeners, Sockets: built.Model.DNS.UDPSockets, Rows: d.board.Table, Gauges: d.board.Gauges, Log: d.log,
		Others: func() int { return d.prober.Stats().Needed + d.measurer.Files() }, Record: d.board.Record, Observe: d.observe, Solicit: d.solicit})
	cancel := d.board.Prepare(func(next *status.Table, changed []status.ID) {
		d.dns.Table().Ready(next, changed)
		d.proxy.Prepare(next, changed)
		if d.gateway.outbound != nil {
			d.gateway.outbound.Prepare(next, changed)
			d.gateway.slb.Prepare(next, changed)
		}
	})
	defer cancel()
	if err := d.dns.Listen(); err != nil {
		return err // and a configuration that cannot be listened for is not kept as a good one
	}
	d.markBy(built)
	d.links.Want(built.Model.Links)
	d.learner.Want(built.Model)
	d.probeFor(built)
	_ = d.use(built) // logged
	d.restoreDistances()
	return d.serve(ctx, hangup)
}

// serve runs the parts until ctx ends or one of them fails. Nobody is told that
// we serve before every door is open that we cannot do without.
func (d *Daemon) serve(ctx context.Context, hangup <-chan os.Signal) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.dns.Run(ctx) })
	g.Go(func() error { return d.prober.Run(ctx) })
	g.Go(func() error { return d.report.run(ctx) })
	g.Go(func() error { return d.links.Run(ctx) })
	g.Go(func() error { return d.proximity.Run(ctx) })
	g.Go(func() error { return d.measurer.Run(ctx) })
	g.Go(func() error { return d.proxy.Run(ctx) })
	g.Go(func() error { return d.learner.Run(ctx) })
	d.gateway.run(ctx, g.Go, d.plugged)
	if err := d.openDoors(ctx, g); err != nil {
		g.Go(func() error { return err })
		return g.Wait()
	}
	g.Go(func() error { return d.keep(ctx) })
	g.Go(func() error { return d.keepDistances(ctx) })
	g.Go(func() error { return d.logEvents(ctx) })
	g.Go(func() error { return d.reloadOnHangup(ctx, hangup) })
	g.Go(func() error { return d.announce(ctx) })
	return g.Wait()
}

// reloadOnHangup reads the configuration again at each SIGHUP.
func (d *Daemon) reloadOnHangup(ctx context.Context, hangup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			_, _ = d.Reload(ctx, "SIGHUP") // logged, counted and shown by Reload
		}
	}
}

// announce tells systemd, and whoever started us, that we serve.
func (d *Daemon) announce(ctx context.Context) error {
	b := d.running.Load()
	udp, tcp := d.dns.Addrs()
	d.log.Info("serving", "udp", udp, "tcp", tcp, "api", d.opts.Socket, "revision", b.Revision, "tables", b.DNS.String(), "probes", len(b.Plan.Checks))
	d.notify(sd.SdNotifyReady + "\nSTATUS=serving " + d.running.Load().DNS.String())
	if d.opts.Ready != nil {
		d.opts.Ready(d)
	}
	<-ctx.Done()
	d.log.Info("stopping")
	d.notify(sd.SdNotifyStopping)
	return nil
}

func (d *Daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.log.Warn("cannot notify systemd", "err", err)
	}
}

// openStore opens the state folder. A folder that another daemon has is an
// error; without a usable folder the daemon serves and says so.
func (d *Daemon) openStore() error {
	if d.opts.State == "" {
		return nil
	}
	s, err := store.Open(d.opts.State)
	switch {
	case errors.Is(err, store.ErrInUse):
		return err
	case err != nil:
		d.log.Error("nothing will be kept over a restart", "err", err)
	default:
		d.store = s
	}
	return nil
}

// first builds what is served to start with.
func (d *Daemon) first() (*Built, error) {
	if d.opts.Zones != "" {
		return d.firstFolder()
	}
	built, err := d.firstConfig()
	if err == nil && d.shelf != nil {
		d.readLive(built.Model.DNS.Limits.Zone)
		d.tell(d.withLive(built))
	}
	return built, err
}

// firstConfig builds the configuration to start with: the one on disk, else
// the last good one that was kept, loudly.
func (d *Daemon) firstConfig() (*Built, error) {
	src, err := SourceOf(d.opts.Config)
	if err != nil {
		return nil, err
	}
	kept := d.lastGood()
	before := d.restoreNumbers()
	built, errs := Build(src, before, kept)
	d.tell(errs)
	now := time.Now()
	if built != nil {
		d.state.Store(&api.ConfigState{Revision: built.Revision, Loaded: now, LastTry: now, LastFailed: failure(errs)})
		return built, nil
	}
	if kept == nil {
		return nil, fmt.Errorf("%w: %s", errNothingGood, failure(errs))
	}
	d.log.Error("THE CONFIGURATION IS BAD: serving the last good one", "config", d.opts.Config, "errors", len(errs))
	d.board.Record(status.Event{ID: "config", New: "last good", Why: failure(errs), By: "start"})
	built, keptErrs := Build(*kept, before, kept)
	if built == nil {
		return nil, fmt.Errorf("the configuration is bad: %s; nor can the last good one be used: %s", failure(errs), failure(keptErrs))
	}
	d.state.Store(&api.ConfigState{Revision: built.Revision, Loaded: now, LastTry: now, LastGood: true, LastFailed: failure(errs)})
	return built, nil
}

// lastGood gives the kept configuration, over the disk: what it refers to and
// does not hold, such as databases, is read where it always was.
func (d *Daemon) lastGood() *config.Source {
	if d.store == nil {
		return nil
	}
	b, found, err := d.store.LastGood()
	for _, passed := range found.PassedOver {
		d.log.Warn("a kept configuration was passed over", "err", passed)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.log.Warn("no last good configuration", "err", err)
		}
		return nil
	}
	src := b.Source()
	src.FS = layered{over: src.FS, under: os.DirFS("/")}
	return &src
}

// layered is a file system over another.
type layered struct{ over, under fs.FS }

func (l layered) Open(name string) (fs.File, error) {
	f, err := l.over.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return l.under.Open(name)
	}
	return f, err
}

// Stat implements [fs.StatFS]: looking at a file must not open it.
func (l layered) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(l.over, name)
	if errors.Is(err, fs.ErrNotExist) {
		return fs.Stat(l.under, name)
	}
	return info, err
}

// tell logs what a build found, each with its place.
func (d *Daemon) tell(errs config.Errors) {
	for _, e := range errs {
		if e.Warning {
			d.log.Warn(e.Error())
		} else {
			d.log.Error(e.Error())
		}
	}
}

// failure sums up errors in a line; empty if there is none but warnings.
func failure(errs config.Errors) string {
	n, first := 0, ""
	for _, e := range errs {
		if !e.Warning {
			if n++; n == 1 {
				first = e.Error()
			}
		}
	}
	if n > 1 {
		return fmt.Sprintf("%s (and %d more)", first, n-1)
	}
	return first
}
