package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// question makes a query for an address, with a Client Subnet option if subnet
// is set (RFC 7871 section 6).
func question(name string, subnet netip.Prefix) ([]byte, error) {
	n, err := dnsmessage.NewName(name + "." + zoneName + ".")
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	if subnet.IsValid() {
		var head dnsmessage.ResourceHeader
		if err := head.SetEDNS0(1232, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		addr := subnet.Addr().AsSlice()[:(subnet.Bits()+7)/8]
		data := append([]byte{0, 1, byte(subnet.Bits()), 0}, addr...)
		m.Additionals = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.OPTResource{
			Options: []dnsmessage.Option{{Code: 8, Data: data}},
		}}}
	}
	return m.Pack()
}

// exchange asks a server over UDP and gives its reply.
func exchange(server netip.AddrPort, query []byte) (*dnsmessage.Message, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		return nil, err
	}
	m := &dnsmessage.Message{}
	if err := m.Unpack(buf[:n]); err != nil {
		return nil, err
	}
	return m, nil
}

// address asks for the address of a name. TTL is that of the answer.
func address(server netip.AddrPort, name string, subnet netip.Prefix) (addr netip.Addr, ttl uint32, err error) {
	query, err := question(name, subnet)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	m, err := exchange(server, query)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	for _, rr := range m.Answers {
		if a, ok := rr.Body.(*dnsmessage.AResource); ok {
			return netip.AddrFrom4(a.A), rr.Header.TTL, nil
		}
	}
	return netip.Addr{}, 0, fmt.Errorf("%s: %s, no address", name, m.RCode)
}

// scenario is one kind of queries.
type scenario struct {
	name  string
	rcode string // that every answer must have
	file  string // of queries, as dnsperf -B reads them
}

// scenarios writes the files of queries. dnsperf sends what is in them as it
// is, but for the ID, so that each query can have its own client.
func (w *world) scenarios(dir string) ([]scenario, error) {
	r := rand.New(rand.NewPCG(3, 4))
	none := func() netip.Prefix { return netip.Prefix{} }
	all := []scenario{
		{"static", "NOERROR", ""}, {"nxdomain", "NXDOMAIN", ""}, {"dynamic", "NOERROR", ""}, {"dynamic + ECS", "NOERROR", ""},
	}
	var errs []error
	for i, of := range []struct {
		name   func(i int) string
		subnet func() netip.Prefix
	}{
		{w.static, none}, {func(i int) string { return fmt.Sprintf("none%d", i) }, none},
		{w.dynamic, none}, {w.dynamic, func() netip.Prefix { return w.client(r) }},
	} {
		all[i].file = filepath.Join(dir, fmt.Sprintf("queries%d", i))
		errs = append(errs, writeQueries(all[i].file, 8*w.names, of.name, of.subnet))
	}
	return all, errors.Join(errs...)
}

// writeQueries writes messages as TCP carries them, each after its length.
func writeQueries(file string, n int, name func(i int) string, subnet func() netip.Prefix) error {
	var out []byte
	for i := range n {
		m, err := question(name(i*7919), subnet()) // a prime: every name, in no order
		if err != nil {
			return err
		}
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(m))), m...)
	}
	return os.WriteFile(file, out, 0o644)
}
