package outbound

import (
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// Session is a connection that goes over a link.
type Session struct {
	Protocol string         `json:"protocol"`
	From     netip.AddrPort `json:"from"` // port 0: the protocol has none
	To       netip.AddrPort `json:"to"`
	Link     string         `json:"link"`             // "" if there is none of its number any more
	Source   netip.Addr     `json:"source,omitzero"`  // that it leaves with, if it is translated
	Inbound  bool           `json:"inbound"`          // it came in by the link
	Sticky   bool           `json:"sticky,omitempty"` // persistence gave it its link
	Child    bool           `json:"child,omitempty"`  // of another, as FTP's data connections are

	State   string          `json:"state,omitempty"` // of TCP
	Expires config.Duration `json:"expires"`         // if nothing comes
	Sent    *Traffic        `json:"sent,omitempty"`  // with nf_conntrack_acct only
	Replied *Traffic        `json:"replied,omitempty"`
}

// Traffic is what went in one direction of a session.
type Traffic = traffic.Volume

// SessionOf shows a session of conntrack; it is not ok if that goes over no link.
func (p *Plan) SessionOf(s *kernel.Session) (shown Session, ok bool) {
	if s.Mark&kernel.LinkMask == 0 {
		return shown, false
	}
	shown = Session{Protocol: kernel.ProtocolName(s.Original.Protocol), From: s.Original.Source, To: s.Original.Destination, Link: p.LinkOf(s.Mark),
		Inbound: s.Mark&kernel.Inbound != 0, Sticky: s.Mark&kernel.Placed != 0, Child: s.Child, State: s.State, Expires: config.Duration(s.Timeout.Round(time.Second))}
	if as := s.Reply.Destination.Addr(); as != s.Original.Source.Addr() {
		shown.Source = as
	}
	if s.Traffic != [2]kernel.Traffic{} {
		shown.Sent, shown.Replied = traffic.VolumeOf(s.Traffic[0]), traffic.VolumeOf(s.Traffic[1])
	}
	return shown, true
}
