package slb

import (
	"context"
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// SessionQuery says which connections are meant. What is left out matches all.
type SessionQuery struct {
	VirtualServer, Farm, Server string
	Client, To                  netip.Prefix
	Protocol                    uint8 // IANA's number
	Port                        uint16
}

// Session is a connection to a virtual server.
type Session struct {
	Protocol      string         `json:"protocol"`
	From          netip.AddrPort `json:"from"`             // port 0: the protocol has none
	To            netip.AddrPort `json:"to"`               // of the virtual server
	VirtualServer string         `json:"virtualServer"`    // "" if there is none of its number any more
	Farm          string         `json:"farm,omitempty"`   // "" if none that it may be sent to has the server
	Server        string         `json:"server,omitempty"` // in the farm
	At            netip.AddrPort `json:"at"`               // where it is answered from
	Source        netip.Addr     `json:"source,omitzero"`  // that the server sees, if it is not the client's
	Child         bool           `json:"child,omitempty"`  // of another, as FTP's data connections are

	State   string          `json:"state,omitempty"` // of TCP
	Expires config.Duration `json:"expires"`         // if nothing comes
	Sent    *traffic.Volume `json:"sent,omitempty"`  // with nf_conntrack_acct only
	Replied *traffic.Volume `json:"replied,omitempty"`
}

// Sessions gives each connection that is meant to yield, until yield says false.
// Those of farms that servers answer past this node (mode: direct) are not tracked,
// and so are not there.
func (s *SLB) Sessions(ctx context.Context, from Sessions, q SessionQuery, yield func(Session) bool) error {
	s.mu.Lock()
	b := browser{virtuals: s.byMark, q: q}
	served := s.plan != nil
	s.mu.Unlock()
	f := kernel.SessionFilter{Source: q.Client, Destination: q.To, Protocol: q.Protocol, Port: q.Port}
	if q.VirtualServer != "" {
		for mark, v := range b.virtuals {
			if v.Name == q.VirtualServer {
				f.Mark, f.Mask = mark, kernel.ServerMask
			}
		}
		if f.Mask == 0 {
			return nil
		}
	}
	if !served {
		return nil
	}
	return from.Sessions(ctx, f, func(c kernel.Session) bool {
		shown, ok := b.show(&c)
		return !ok || yield(shown)
	})
}

// browser shows sessions of what is served.
type browser struct {
	virtuals map[uint32]*virtual // not changed by anybody
	q        SessionQuery
}

// show shows a session; it is not ok if that is none of ours, or not meant.
func (b *browser) show(c *kernel.Session) (shown Session, ok bool) {
	if c.Mark&kernel.ServerMask == 0 {
		return shown, false
	}
	shown = Session{Protocol: kernel.ProtocolName(c.Original.Protocol), From: c.Original.Source, To: c.Original.Destination, At: c.Reply.Source,
		Child: c.Child, State: c.State, Expires: config.Duration(c.Timeout.Round(time.Second))}
	if v := b.virtuals[c.Mark&kernel.ServerMask]; v != nil {
		shown.VirtualServer = v.Name
		if m := v.at(c.Reply.Source); m != nil {
			shown.Farm, shown.Server = m.farm.Name, m.Name
		}
	}
	if as := c.Reply.Destination.Addr(); as != c.Original.Source.Addr() {
		shown.Source = as
	}
	if c.Traffic != [2]kernel.Traffic{} {
		shown.Sent, shown.Replied = traffic.VolumeOf(c.Traffic[0]), traffic.VolumeOf(c.Traffic[1])
	}
	return shown, (b.q.Farm == "" || b.q.Farm == shown.Farm) && (b.q.Server == "" || b.q.Server == shown.Server)
}
