package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"reflect"
	"sync"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/store"
)

// newSLB gives what serves virtual servers, once the doors to the kernel are open.
func (d *Daemon) newSLB() *slb.SLB {
	g := &d.gateway
	return slb.New(slb.Options{
		Board: d.board, Kernel: g.kernel, Sessions: g.conntrack, Log: d.log,
		Interfaces: g.reader.Interfaces,
		Count:      func() (slb.Counter, error) { return kernel.OpenLiveServers(kernel.ServerMask) },
		Latency:    d.latency, Renamed: d.moved,
	})
}

// serveFrom has the virtual servers of a configuration served.
func (d *Daemon) serveFrom(b *Built) {
	g, row := &d.gateway, status.MakeID(status.KindKernel, slb.Owner)
	switch {
	case g.slb != nil:
		d.keepServing(b)
		g.slb.Use(b.SLB, b.Model, b.Serving)
	case b.SLB != nil:
		d.log.Error("NOTHING IS SERVED: this process may not change Linux' networking", "err", g.closed)
		rows := slb.IdleRows(b.Model, "daemon", "this process may not change Linux' networking: "+g.closed.Error())
		rows = append(rows, status.Row{ID: row, Health: status.Down, Why: g.closed.Error(), By: "daemon"})
		d.idle = d.swap(d.idle, rows)
	default:
		d.idle = d.swap(d.idle, nil)
	}
}

// swap writes rows in the place of those that were written before, and gives what
// there is to remove next time. What somebody else writes now is his.
func (d *Daemon) swap(before []status.ID, rows []status.Row) (now []status.ID) {
	is := map[status.ID]bool{}
	for i := range rows {
		is[rows[i].ID] = true
		now = append(now, rows[i].ID)
	}
	var gone []status.ID
	for _, id := range before {
		if r, there := d.board.Table().Lookup(id); there && !is[id] && r.By == "daemon" {
			gone = append(gone, id)
		}
	}
	if len(rows)+len(gone) > 0 {
		d.board.Replace(rows, gone)
	}
	return now
}

// setSLB compiles what is served. before may be nil.
func (b *Built) setSLB(before *Built) config.Errors {
	var was *l4.Plan
	if before != nil {
		was, b.Serving, b.held = before.SLB, before.Serving, before.held
	}
	if !b.Model.Serves() {
		return nil
	}
	var carried func(l4.Kind, uint32) bool
	if b.held != nil {
		carried = b.held(b.Serving)
	}
	numbers, err := l4.Number(b.Model, b.Serving, carried)
	if err != nil {
		return config.Errors{{Pos: b.Model.SLB.Pos, Path: "virtualServers", Text: err.Error()}}
	}
	plan, errs := l4.Compile(l4.Inputs{Model: b.Model, Topology: b.Topology, Numbers: numbers, Before: was})
	if plan != nil {
		b.SLB, b.Serving = plan, numbers
	}
	return errs
}

// The numbers of virtual servers live in marks of connections, and those of farms
// and servers in entries of persistence, which outlive us.
const (
	servingKind    = "serving"
	servingVersion = 1
	namesKind      = "server-names"
	namesVersion   = 1
)

// restoreServing gives the numbers that were kept, and where servers by name were.
func (d *Daemon) restoreServing(b *Built) {
	b.held = d.held
	if d.store == nil {
		return
	}
	found, err := store.LoadJSON(d.store, servingKind, servingVersion, &b.Serving)
	d.restored("numbers of virtual servers, farms and servers", found.PassedOver, err)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.Serving = l4.Numbers{}
	}
	if d.gateway.slb == nil {
		return
	}
	var names map[string][]netip.Addr
	found, err = store.LoadJSON(d.store, namesKind, namesVersion, &names)
	d.restored("addresses of servers by name", found.PassedOver, err)
	if err == nil {
		d.gateway.slb.RestoreNames(names)
	}
}

func (d *Daemon) keepServing(b *Built) {
	if d.store == nil || reflect.DeepEqual(d.serving, b.Serving) {
		return
	}
	if err := d.store.SaveJSON(servingKind, servingVersion, b.Serving); err != nil {
		d.log.Error("the numbers of virtual servers, farms and servers were not kept: a restart with others may give connections to the wrong ones", "err", err)
		return
	}
	d.serving = b.Serving
}

// keepNames keeps where servers by name are now.
func (d *Daemon) keepNames() error {
	if d.gateway.slb == nil {
		return nil
	}
	names := d.gateway.slb.Names()
	if reflect.DeepEqual(d.named, names) || len(names)+len(d.named) == 0 {
		return nil
	}
	err := d.store.SaveJSON(namesKind, namesVersion, names)
	if err == nil {
		d.named = names
	}
	return err
}

// held gives who says whether connections or entries of persistence hold a number.
// Both are looked through once, when they are first asked for. While that cannot
// be, as entries before there is a configuration, what was kept may be held.
func (d *Daemon) held(kept l4.Numbers) func(l4.Kind, uint32) bool {
	g := &d.gateway
	if g.kernel == nil {
		return nil // nothing of ours is there
	}
	all := sync.OnceValue(func() map[l4.Held]bool {
		all, err := g.slb.Held()
		if err != nil {
			return kept.All()
		}
		err = g.looker.Sessions(context.Background(), kernel.SessionFilter{}, func(s kernel.Session) bool {
			if m := s.Mark & kernel.ServerMask; m != 0 {
				all[l4.HeldBy(m)] = true
			}
			return true
		})
		if err != nil {
			return kept.All()
		}
		return all
	})
	return func(kind l4.Kind, n uint32) bool { return all()[l4.Held{Kind: kind, Number: n}] }
}

// latency gives how soon the probes of a row were answered last, in seconds: the
// slowest counts; NaN: none was.
func (d *Daemon) latency(id status.ID) float64 {
	worst := math.NaN()
	for _, h := range d.prober.Evidence(id) {
		if n := len(h.Last); n > 0 && h.Health == status.Up {
			worst = max(h.Last[n-1].Took.Seconds(), or(worst, 0))
		}
	}
	return worst
}

func or(a, b float64) float64 {
	if math.IsNaN(a) {
		return b
	}
	return a
}

// notServing names what keeps virtual servers from being served although the
// configuration says so. That a server is down does not.
func (d *Daemon) notServing() []api.NotReady {
	g := &d.gateway
	b := d.running.Load()
	if b == nil || b.SLB == nil {
		return nil
	}
	if g.kernel == nil {
		return []api.NotReady{{Part: slb.Owner, Why: fmt.Sprintf("this process may not change Linux' networking: %v", g.closed)}}
	}
	if _, _, err := g.kernel.Element(l4.Table, l4.ServedSet, binary.NativeEndian.AppendUint32(nil, 0)); err != nil {
		return []api.NotReady{{Part: slb.Owner, Why: "the kernel has not got its tables: " + err.Error()}}
	}
	return nil
}

// serverAddresses gives where servers by name of a configuration are now; nil:
// names are not followed.
func (d *Daemon) serverAddresses(b *Built) func(farm, server string) []netip.Addr {
	if d.gateway.slb == nil {
		return nil
	}
	hosts := map[string]string{}
	for _, f := range b.Model.ServerFarms {
		for _, s := range f.Servers {
			if s.Host != "" {
				hosts[l4.ServerKey(f.Name, s.Name)] = s.Host
			}
		}
	}
	return func(farm, server string) []netip.Addr { return d.gateway.slb.Known(hosts[l4.ServerKey(farm, server)]) }
}
