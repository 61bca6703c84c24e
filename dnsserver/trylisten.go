package dnsserver

import (
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
)

// CanListen says whether a restart could open the listeners of ls that s does
// not have, by opening them for a moment. One on a port that s has itself is
// taken on trust: it cannot be tried while s serves.
func (s *Server) CanListen(ls []*config.Listener) error {
	var unknown []*config.Listener
	for _, l := range ls {
		if !slices.ContainsFunc(s.opts.Listeners, func(own *config.Listener) bool {
			return own.Address.Port() == l.Address.Port() && Meet(own.Address.Addr(), l.Address.Addr())
		}) {
			unknown = append(unknown, l)
		}
	}
	trial := New(Options{Listeners: unknown, Log: s.opts.Log, Sockets: 1})
	err := trial.Listen()
	if err == nil {
		trial.close()
	}
	return err
}

// Meet says whether listeners on the addresses x and y, of one port, could stand
// in each other's way.
func Meet(x, y netip.Addr) bool {
	return x.Unmap() == y.Unmap() || x.IsUnspecified() || y.IsUnspecified()
}
