package slb

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb/l4"
)

// StickyQuery says which entries of persistence are meant. What is left out
// matches all.
type StickyQuery struct {
	VirtualServer, Farm, Server string
	Client                      netip.Prefix // entries of clients inside it, and of the network around it
}

// StickyEntry is a client that keeps its server.
type StickyEntry struct {
	Persistence   string          `json:"persistence"`
	VirtualServer string          `json:"virtualServer,omitempty"` // "": the entry is shared by those that use the farm, or there is none of its number any more
	Farm          string          `json:"farm"`                    // "" if there is no server of its number any more
	Server        string          `json:"server"`
	Client        netip.Prefix    `json:"client,omitzero"` // none of persistence by destination
	Port          uint16          `json:"port,omitempty"`  // of the client, by source-port
	Destination   netip.Prefix    `json:"destination,omitzero"`
	Expires       config.Duration `json:"expires"` // unless a new connection renews it

	key []byte
}

// Sticky gives each entry that is meant to yield, as packets have left them in
// the kernel, until yield says false. A map of 50,000 takes some 50 ms.
func (s *SLB) Sticky(q StickyQuery, yield func(StickyEntry) bool) error {
	p := s.Plan()
	if p == nil {
		return nil
	}
	for _, stick := range q.sticks(p) {
		list, err := s.opts.Kernel.Elements(l4.Table, stick.Set)
		if err != nil {
			return err
		}
		for i := range list {
			if e, ok := entryOf(p, &stick, &list[i]); ok && q.matches(&e) && !yield(e) {
				return nil
			}
		}
	}
	return nil
}

// ClearSticky has the kernel forget the entries that are meant, and says how
// many they were. Connections that there are stay where they are; the next new
// one of such a client is given a server as if it were the first.
func (s *SLB) ClearSticky(q StickyQuery) (n int, err error) {
	p := s.Plan()
	if p == nil {
		return 0, nil
	}
	for _, stick := range q.sticks(p) {
		list, err := s.opts.Kernel.Elements(l4.Table, stick.Set)
		if err != nil {
			return n, err
		}
		var keys [][]byte
		for i := range list {
			if e, ok := entryOf(p, &stick, &list[i]); ok && q.matches(&e) {
				keys = append(keys, e.key)
			}
		}
		if len(keys) == 0 {
			continue
		}
		if err := s.opts.Kernel.Delete(l4.Table, stick.Set, keys...); err != nil {
			return n, err
		}
		n += len(keys)
	}
	return n, nil
}

// sticks gives the maps in which entries of the query may be.
func (q *StickyQuery) sticks(p *l4.Plan) (list []l4.Stick) {
	for _, s := range p.Sticks() {
		if !q.Client.IsValid() || q.Client.Addr().Is6() == s.Family.IPv6() {
			list = append(list, s)
		}
	}
	return list
}

func (q *StickyQuery) matches(e *StickyEntry) bool {
	return (q.VirtualServer == "" || q.VirtualServer == e.VirtualServer) && (q.Farm == "" || q.Farm == e.Farm) &&
		(q.Server == "" || q.Server == e.Server) &&
		(!q.Client.IsValid() || e.Client.IsValid() && q.Client.Overlaps(e.Client))
}

// entryOf reads an element of a map. It is not ok if that is of another shape,
// which a map of this plan never has.
func entryOf(p *l4.Plan, s *l4.Stick, el *kernel.Element) (e StickyEntry, ok bool) {
	c, ok := s.Similar.Read(s.Family, el.Key)
	if !ok || len(el.Data) < 4 {
		return e, false
	}
	e = StickyEntry{Persistence: s.Persistence, Client: c.Source, Port: c.Port, Destination: c.Destination,
		Expires: config.Duration(el.Expires.Round(time.Second)), key: el.Key}
	e.Farm, e.Server = p.ServerOf(l4.ID(binary.NativeEndian.Uint32(el.Data)))
	if !s.Shared {
		e.VirtualServer = p.VirtualServerOf(c.Scope)
	}
	return e, true
}

// Held gives the numbers that entries of persistence hold.
func (s *SLB) Held() (map[l4.Held]bool, error) {
	p := s.Plan()
	if p == nil {
		return nil, errors.New("nothing is served: which maps there are is not known")
	}
	held := map[l4.Held]bool{}
	for _, stick := range p.Sticks() {
		list, err := s.opts.Kernel.Elements(l4.Table, stick.Set)
		if err != nil {
			return nil, err
		}
		for i := range list {
			for _, h := range stick.Holds(&list[i]) {
				held[h] = true
			}
		}
	}
	return held, nil
}
