package api

import (
	"net"
	"net/netip"
	"sync"
)

// fair closes at once what one client opens beyond its share, so that no client
// alone takes every place. A client is an IPv4 address or an IPv6 /64.
type fair struct {
	net.Listener
	each int

	mu   sync.Mutex
	open map[netip.Prefix]int
}

func shareOut(l net.Listener, each int) net.Listener {
	return &fair{Listener: l, each: each, open: map[netip.Prefix]int{}}
}

func (f *fair) Accept() (net.Conn, error) {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who := clientOf(c)
		if f.enter(who) {
			return &limitedConn{Conn: c, release: sync.OnceFunc(func() { f.leave(who) })}, nil
		}
		_ = c.Close() // the newcomer's loss
	}
}

func (f *fair) enter(who netip.Prefix) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[who] >= f.each {
		return false
	}
	f.open[who]++
	return true
}

func (f *fair) leave(who netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[who]--; f.open[who] == 0 {
		delete(f.open, who)
	}
}

// clientOf gives the zero prefix for what has no address: such share one place.
func clientOf(c net.Conn) netip.Prefix {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	a := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // bits are in range
	return p
}
