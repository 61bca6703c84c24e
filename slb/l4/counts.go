package l4

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

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
// where each is read; of limits only where something has some. Waiting of a farm is
// what its busy action had to deal with, None what found nobody alive.
func (p *Plan) Hits() (list []traffic.Hit) {
	for _, s := range p.servers {
		list = append(list, s.hits()...)
	}
	for _, q := range p.policies {
		for i := range q.Rules {
			list = append(list, p.ruleHit(q, i))
		}
	}
	for _, k := range p.keeps {
		list = append(list, k.hit())
	}
	for _, f := range p.farms {
		list = append(list, f.hits()...)
		for _, m := range f.members {
			list = append(list, m.hits()...)
		}
	}
	return p.read(list)
}

// read leaves out what no rule counts.
func (p *Plan) read(list []traffic.Hit) []traffic.Hit {
	return slices.DeleteFunc(list, func(h traffic.Hit) bool { return h.From.Set != "" && h.From.Set != given && !p.sets[h.From.Set] })
}

// given stands for the sets that count a server's connections ([Plan.Places]).
const given = "given"

// counted is where an element counts.
func counted(set string, key uint32) traffic.Counted {
	return traffic.Counted{Set: set, Key: string(kernel.Number(key))}
}

func (s *server) hits() []traffic.Hit {
	does := ""
	if s.target != nil {
		does = s.target.does()
	}
	taken := ServedSet
	if s.copied() {
		taken = "copy_hits"
	}
	return []traffic.Hit{
		{Kind: traffic.HitServer, Name: s.Name, What: traffic.Taken, Does: does, From: counted(taken, s.mark)},
		{Kind: traffic.HitServer, Name: s.Name, What: traffic.Limited, From: counted("limited", s.mark)},
		{Kind: traffic.HitServer, Name: s.Name, What: traffic.Dropped, From: counted("dropped", s.mark)},
	}
}

// ruleHit is of the rule of a policy at a place, from 0.
func (p *Plan) ruleHit(q *config.FarmPolicy, at int) traffic.Hit {
	return traffic.Hit{Kind: traffic.HitRule, Name: fmt.Sprintf("%s/%d", q.Name, at+1), What: traffic.Taken, Does: p.does(q.Rules[at]),
		From: traffic.Counted{Counter: ruleCounter(q.Name, at+1)}}
}

func (k *keep) hit() traffic.Hit {
	return traffic.Hit{Kind: traffic.HitPersistence, Name: k.Name, What: traffic.Taken, From: traffic.Counted{Counter: k.counter()}}
}

func (f *farm) hits() []traffic.Hit {
	return []traffic.Hit{
		{Kind: HitFarm, Name: f.Name, What: traffic.Waiting, Does: string(f.OnBusy), From: counted(f.set("waiting"), f.scope())},
		{Kind: HitFarm, Name: f.Name, What: traffic.None, From: counted(f.set("none"), f.scope())},
	}
}

func (m *member) hits() []traffic.Hit {
	list := []traffic.Hit{{Kind: HitServer, Name: ServerKey(m.farm.Name, m.Name), What: traffic.Taken, From: counted(m.farm.set(given), uint32(m.id))}}
	if m.bounded() {
		list = append(list, traffic.Hit{Kind: HitServer, Name: ServerKey(m.farm.Name, m.Name), What: traffic.Full, From: counted("full", uint32(m.id))})
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
