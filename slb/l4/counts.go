package l4

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// The kinds of [traffic.Hit] that slb has beside those of both owners.
const (
	HitFarm   = "serverFarm"
	HitServer = "realServer" // named by [ServerKey]
)

// Hits lists what rules count, in the order of the configuration and at 0, with
// where each is read; of limits only where something has some. Waiting of a farm is what its busy action had to deal with,
// None what found nobody alive.
func (p *Plan) Hits() (list []traffic.Hit) {
	add := func(kind, name, what, does string, from traffic.Counted) {
		if from.Set != "" && !p.sets[from.Set] {
			return // no rule counts it
		}
		list = append(list, traffic.Hit{Kind: kind, Name: name, What: what, Does: does, From: from})
	}
	in := func(set string, key uint32) traffic.Counted {
		return traffic.Counted{Set: set, Key: string(kernel.Number(key))}
	}
	for _, s := range p.servers {
		does := ""
		if s.target != nil {
			does = s.target.does()
		}
		add(traffic.HitServer, s.Name, traffic.Taken, does, in("hits", s.mark))
		add(traffic.HitServer, s.Name, traffic.Limited, "", in("limited", s.mark))
		add(traffic.HitServer, s.Name, traffic.Dropped, "", in("dropped", s.mark))
	}
	for _, q := range p.policies {
		for i, r := range q.Rules {
			name := fmt.Sprintf("%s/%d", q.Name, i+1)
			add(traffic.HitRule, name, traffic.Taken, p.does(r), traffic.Counted{Counter: ruleCounter(q.Name, i+1)})
		}
	}
	for _, k := range p.keeps {
		add(traffic.HitPersistence, k.Name, traffic.Taken, "", traffic.Counted{Counter: k.counter()})
	}
	for _, f := range p.farms {
		add(HitFarm, f.Name, traffic.Waiting, string(f.OnBusy), in("waiting", f.key))
		add(HitFarm, f.Name, traffic.None, "", in("none", f.key))
		for _, m := range f.members {
			add(HitServer, ServerKey(f.Name, m.Name), traffic.Taken, "", in("given", uint32(m.id)))
			if m.bounded() {
				add(HitServer, ServerKey(f.Name, m.Name), traffic.Full, "", in("full", uint32(m.id)))
			}
		}
	}
	return list
}

// does says in a few words what a target is.
func (t *target) does() string {
	text := "farm " + t.farm.Name
	if t.backup != nil {
		text += ", backup " + t.backup.Name
	}
	if t.keep != nil {
		text += ", persistence " + t.keep.Name
	}
	return text
}

func (p *Plan) does(r *config.FarmRule) string {
	if r.Action == nil {
		return "farm of the virtual server"
	}
	if t := p.targetOf(r.Action); t != nil {
		return t.does()
	}
	return "drop"
}

// Count is a counted set by real servers: what its elements count is of whom Of
// says. Several servers share an element where they have an address and port in
// common, and are not told apart.
type Count struct {
	Set string
	Out bool // of octets: from the server to clients, the reply direction; false: to the server
	Of  func(key []byte) []ID
}

// Refusals gives the sets that count the resets of servers, in packets of the
// reply direction; none if no farm shuts servers down by them.
func (p *Plan) Refusals() []Count {
	if !p.has.refusals {
		return nil
	}
	return p.counts("resets", false)
}

// counts gives the sets of a name: of both families, with a port and without.
func (p *Plan) counts(name string, out bool) (list []Count) {
	for _, f := range traffic.Families() {
		list = append(list, Count{name + f.Digit, out, p.ofSocket}, Count{name + "_host" + f.Digit, out, p.ofSocket})
	}
	return list
}

// ofSocket gives the servers with an address, and the port behind it if there is
// one in the key.
func (p *Plan) ofSocket(key []byte) (ids []ID) {
	size, port := len(key), uint16(0)
	if size == 8 || size == 20 {
		size -= 4
		port = binary.BigEndian.Uint16(key[size:])
	}
	a, ok := netip.AddrFromSlice(key[:size])
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.live.sockets[netip.AddrPortFrom(a, port)] {
		ids = append(ids, m.id)
	}
	return ids
}

// Octets gives the sets that count what goes to servers and comes from them; none
// if nobody looks at rates.
func (p *Plan) Octets() []Count {
	if !p.has.octets {
		return nil
	}
	return append(p.counts("octets_in", false), p.counts("octets_out", true)...)
}
