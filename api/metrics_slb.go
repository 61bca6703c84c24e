package api

import (
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/traffic"
)

// Labels are names of the configuration; none is of a client or a connection.
var (
	slbHits          = counter("slb_connections_total", "New connections that things of server load balancing had, by what became of them; counted by the kernel. Not of a kind of which there are more than 10,000.", "kind", "name", "outcome")
	slbLeftOut       = gauge("slb_left_out", "Things of a kind that have no series of their own, for there are more than 10,000.", "kind")
	virtualOpen      = gauge("slb_virtual_server_connections", "Connections to a virtual server that this node serves; none where nothing goes by their number, nor with more than 10,000 virtual servers.", "virtual_server")
	farmUp           = gauge("farm_up", "1 if a server farm is available, 0 if it is not: below its thresholds, or held. Not with more than 10,000 farms.", "farm")
	farmActive       = gauge("farm_active_servers", "Servers of a farm that take part. Not with more than 10,000 farms.", "farm")
	farmServers      = gauge("farm_servers", "Servers of a farm. Not with more than 10,000 farms.", "farm")
	farmLapsed       = gauge("farm_busy_lapsed", "1 if all servers that take part in a farm are busy, so that busy protection has lapsed. Not with more than 10,000 farms.", "farm")
	realServerShare  = gauge("real_server_share_ratio", "Part of a farm's new connections that a server gets, where persistence does not speak. Not with more than 10,000 servers.", "farm", "server")
	realServerOpen   = gauge("real_server_connections", "Connections of a farm to a server; none where nothing goes by their number, nor with more than 10,000 servers.", "farm", "server")
	poolPorts        = gauge("snat_pool_ports", "Ports of each address of a SNAT pool towards each server.", "pool")
	poolInUse        = gauge("snat_pool_ports_in_use", "Of them, how many are in use where it is tightest.", "pool")
	poolExhausted    = gauge("snat_pool_full", "1 if an address of a SNAT pool has no port left towards a server.", "pool")
	poolRefusals     = counter("snat_pool_failed_total", "Connections that found no port in a SNAT pool.", "pool")
	slbFamilies      = []metric{slbHits, slbLeftOut, virtualOpen, farmUp, farmActive, farmServers, farmLapsed, realServerShare, realServerOpen, poolPorts, poolInUse, poolExhausted, poolRefusals}
	slbKindsOfSeries = []string{traffic.HitServer, traffic.HitRule, traffic.HitPersistence, l4.HitFarm, l4.HitServer}
)

func (v view) collectSLB(emit emitter) {
	if v.serves() != nil {
		return
	}
	v.collectHits(emit)
	if states := v.opts.SLB.VirtualServers(); len(states) <= maxHitSeries {
		for i := range states {
			if n := states[i].Connections; n != nil {
				emit.put(virtualOpen, float64(*n), states[i].Config.Name)
			}
		}
	}
	v.collectFarms(emit)
	for _, p := range v.opts.SLB.Pools() {
		emit.put(poolPorts, float64(p.Ports), p.Config.Name)
		emit.put(poolInUse, float64(p.Lent), p.Config.Name)
		emit.put(poolExhausted, one(p.Full), p.Config.Name)
		emit.put(poolRefusals, float64(p.Failed), p.Config.Name)
	}
}

// collectHits gives the counters of the kinds of which there are not too many.
func (v view) collectHits(emit emitter) {
	things, last := map[string]int{}, map[string]string{}
	_, err := v.opts.SLB.Hits(func(h *traffic.Hit) bool { // they are only counted
		if last[h.Kind] != h.Name { // those of one thing come together
			last[h.Kind] = h.Name
			things[h.Kind]++
		}
		return false
	})
	var hits []traffic.Hit
	if err == nil {
		hits, err = v.opts.SLB.Hits(func(h *traffic.Hit) bool { return things[h.Kind] <= maxHitSeries })
	}
	if err != nil {
		return // the kernel's row tells
	}
	for _, kind := range slbKindsOfSeries {
		leftOut := 0
		if things[kind] > maxHitSeries {
			leftOut = things[kind]
		}
		emit.put(slbLeftOut, float64(leftOut), kind)
	}
	for i := range hits {
		h := &hits[i]
		emit.put(slbHits, float64(h.Connections), h.Kind, h.Name, h.What)
	}
}

func (v view) collectFarms(emit emitter) {
	farms, servers := v.opts.SLB.Farms(), 0
	for i := range farms {
		servers += len(farms[i].Servers)
	}
	for i := range farms {
		f := &farms[i]
		name, active := f.Config.Name, 0
		for k := range f.Servers {
			s := &f.Servers[k]
			if s.Standing.Active {
				active++
			}
			if servers > maxHitSeries {
				continue
			}
			emit.put(realServerShare, s.Standing.Share, name, s.Config.Name)
			if s.Connections != nil {
				emit.put(realServerOpen, float64(*s.Connections), name, s.Config.Name)
			}
		}
		if len(farms) <= maxHitSeries {
			emit.put(farmUp, one(f.Result.Up), name)
			emit.put(farmActive, float64(active), name)
			emit.put(farmServers, float64(len(f.Servers)), name)
			emit.put(farmLapsed, one(len(f.Result.Lapsed) > 0), name)
		}
	}
}
