package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/nettest"
)

// TestWalkTwin_Root holds the interpreter against Linux: random tables of our
// words, random packets really sent through them, and for each packet the marks
// with which it left, read out by counters.
func TestWalkTwin_Root(t *testing.T) {
	g := newTwin(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		if n++; g.port > 60000 {
			t.Skip("each connection had a port of its own, and there are no more")
		}
		g.check(t, n)
	})
}

const (
	twinMarkBits = 6 // of each mark, and of the label, that rules write
	twinPackets  = 24
)

var (
	twinMAC   = [6]byte{2, 0, 0, 0, 0, 77}
	twinOwn4  = netip.MustParsePrefix("10.0.0.1/24")
	twinOwn6  = netip.MustParsePrefix("fd10::1/64")
	twinHosts = [2][]netip.Addr{
		{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.0.0.6"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("8.8.9.255"), netip.MustParseAddr("203.0.113.255")},
		{netip.MustParseAddr("fd10::5"), netip.MustParseAddr("fd10::6"), netip.MustParseAddr("fd10::1"), netip.MustParseAddr("2001:db8::8"), netip.MustParseAddr("2001:db8:0:1::ff"), netip.MustParseAddr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")},
	}
	twinPorts = []uint16{22, 53, 80, 443, 65535}
)

// twin is a machine that packets are sent to, and the kernel that does as we wish there.
type twin struct {
	k       *Kernel
	wires   [2]twinWire // lan0 and lan1, as seen from outside
	port    uint16      // each connection has its own
	entered uint64
	before  map[string]Counted
}

type twinWire struct {
	fd  int
	mac net.HardwareAddr // of the machine's end
}

func newTwin(t *testing.T) *twin {
	machine, outside := nettest.New(t), nettest.New(t)
	g := &twin{port: 1024, before: map[string]Counted{}}
	outside.Set("ipv6/conf/default/disable_ipv6", "1")
	machine.Set("ipv6/conf/default/addr_gen_mode", "1") // nothing of its own comes by while turns are counted
	for i, name := range []string{"lan0", "lan1"} {
		machine.Cable(name, outside, name)
		g.wires[i] = openTwinWire(t, machine, outside, name)
	}
	machine.IP("addr add " + twinOwn4.String() + " dev lan0")
	machine.IP("addr add " + twinOwn6.String() + " dev lan0 nodad")
	machine.IP("route add default dev lan1")
	machine.IP("-6 route add default dev lan1")
	for _, s := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		machine.Set(s, "1")
	}
	machine.Set("ipv4/conf/lan1/rp_filter", "0")
	machine.Set("ipv4/conf/all/rp_filter", "0")
	var err error
	machine.Do(func() { g.k, err = New(Options{}) })
	if err != nil {
		nettest.Missing(t, "nftables: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.k.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		g.k.Close()
	})
	g.want(t, nil)
	machine.Set("netfilter/nf_conntrack_checksum", "0") // ours are not filled in
	return g
}

// openTwinWire opens a socket outside that sends whole frames to an interface of the
// machine.
func openTwinWire(t *testing.T, machine, outside *nettest.Space, name string) (w twinWire) {
	var err error
	machine.Do(func() {
		var i *net.Interface
		if i, err = net.InterfaceByName(name); err == nil {
			w.mac = i.HardwareAddr
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	up := func() (up bool) { // sends nothing at first, though it is set up
		outside.Do(func() {
			i, err := net.InterfaceByName(name)
			up = err == nil && i.Flags&net.FlagRunning != 0
		})
		return up
	}
	until(t, "cable of "+name, longEnough, up)
	outside.Do(func() {
		var i *net.Interface
		if i, err = net.InterfaceByName(name); err != nil {
			return
		}
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err == nil {
			err = unix.Bind(w.fd, &unix.SockaddrLinklayer{Ifindex: i.Index})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(w.fd) })
	return w
}

// fataler is both a *testing.T and a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// want has Linux load the table, and chains that count what enters and with
// which marks it leaves.
func (g *twin) want(t fataler, random *Table) {
	t.Helper()
	ours := Is{Of: EtherSource, To: twinMAC[:]}
	leave := []Rule{{Do: []Step{ours, Count{"left"}}}}
	counters := []string{"entered", "left"}
	for what, is := range twinPlaces() {
		counters = append(counters, what)
		leave = append(leave, Rule{Tell: what, Do: []Step{ours, is, Count{what}}})
	}
	for bit := range twinMarkBits {
		for name, is := range map[string]Step{
			"prio":  Is{Of: Masked{Priority, Number(1 << bit)}, Op: NotEqual, To: Number(0)},
			"mark":  Is{Of: Masked{Mark, Number(1 << bit)}, Op: NotEqual, To: Number(0)},
			"ct":    Is{Of: Masked{CtMark, Number(1 << bit)}, Op: NotEqual, To: Number(0)},
			"label": Is{Of: Masked{CtLabel, twinLabel(bit)}, Op: NotEqual, To: make([]byte, labelWidth)},
		} {
			c := fmt.Sprintf("%s%d", name, bit)
			counters = append(counters, c)
			leave = append(leave, Rule{Tell: c, Do: []Step{ours, is, Count{c}}})
		}
	}
	counters = append(counters, "counted")
	slices.Sort(counters)
	slices.SortFunc(leave, func(a, b Rule) int { return len(a.Tell) - len(b.Tell) })
	leave = append(leave, Rule{Do: []Step{ours, Count{"counted"}}}) // the last: all others have counted it
	w := &Wishes{Tables: []Table{{Name: "portolan_counts", Counters: counters, Chains: []Chain{
		{Name: "enter", Hook: &Hook{"filter", "prerouting", -300}, Rules: []Rule{{Do: []Step{ours, Count{"entered"}}},
			{Do: []Step{SetCtLabel{twinLabel(0)}}}}}, // of nobody, before conntrack: connections have labels from now on
		{Name: "leave", Hook: &Hook{"filter", "prerouting", 300}, Rules: leave},
	}}}}
	if random != nil {
		w.Tables = append(w.Tables, *random)
	}
	g.k.Want("twin", w)
	ctx, stop := context.WithTimeout(context.Background(), longEnough)
	defer stop()
	if err := g.k.Sync(ctx, "twin"); err != nil {
		t.Fatalf("%v: %+v", err, random)
	}
}

// twinLabel is one of the bits of the label that rules write, some in each half.
func twinLabel(bit int) []byte {
	b := make([]byte, labelWidth)
	b[5+2*bit] = 1 << bit
	return b
}

// leftWith tells what a packet has when it leaves.
func leftWith(mark, ct, label, priority uint32, places []string) string {
	slices.Sort(places)
	return fmt.Sprintf("mark %#x, ct mark %#x, label %#x, priority %#x, to %s", mark, ct, label, priority, strings.Join(places, " "))
}

// twinPlaces are the destinations that a packet may leave for, by the counters that
// tell them.
func twinPlaces() map[string]Step {
	all := map[string]Step{}
	for i, hosts := range twinHosts {
		for _, a := range hosts {
			all[a.String()] = Is{Of: fieldsOf(i).dest, To: Addr(a)}
		}
	}
	for _, p := range twinPorts {
		all[fmt.Sprint("port ", p)] = Is{Of: DestPort, To: Port(p)}
	}
	return all
}

// twinPlace gives the counters that count a packet.
func twinPlace(p *Packet) []string {
	if !p.hasPorts() {
		return []string{p.Dest.String()}
	}
	return []string{p.Dest.String(), fmt.Sprint("port ", p.DestPort)}
}

// check makes a table and sends packets through it, there and here.
func (g *twin) check(t *rapid.T, n int) {
	table := drawTable(t, n)
	g.want(t, &table)
	turns := map[Place]uint32{}
	w := &World{
		Tables: []Table{table}, Remember: true, AddressType: AddressTypes(twinOwn4, twinOwn6),
		Draw: func(at Place, of uint32) uint32 {
			turns[at]++
			return (turns[at] - 1) % of
		},
	}
	limits := newTwinLimits()
	w.Over = limits.over
	var sessions []Packet // of UDP that passed: a further packet finds their mark
	for range twinPackets {
		p := g.drawPacket(t)
		if len(sessions) > 0 && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
			p = rapid.SampledFrom(sessions).Draw(t, "session")
		}
		limits.packet = p
		trace, err := w.Walk("prerouting", p)
		if err != nil {
			t.Fatalf("%v: %+v", err, table)
		}
		limits.passed(trace.End == Passed)
		want := "gone"
		if trace.End == Passed {
			label := uint32(0)
			for bit := range twinMarkBits {
				if trace.Packet.Ct.Label[5+2*bit] != 0 {
					label |= 1 << bit
				}
			}
			want = leftWith(trace.Packet.Mark, trace.Packet.Ct.Mark, label, trace.Packet.Priority, twinPlace(&trace.Packet))
		}
		if limits.unsure { // the clock decides: what comes of it is not compared
			g.send(t, p, false)
			g.settle(t)
			return
		}
		if got := g.send(t, p, trace.End == Passed); got != want {
			for _, v := range trace.Visits {
				t.Logf("%+v", v)
			}
			t.Fatalf("packet %+v: in Linux %s, told %s\n%s", p, got, want, twinText(&table))
		}
		if known := p.Ct.Status != 0; known || trace.End == Passed && p.Protocol == unix.IPPROTO_UDP {
			sessions = slices.DeleteFunc(sessions, func(o Packet) bool { return o.SourcePort == p.SourcePort })
			p.Ct.Mark, p.Ct.Label, p.Ct.Status = trace.Packet.Ct.Mark, trace.Packet.Ct.Label, trace.Packet.Ct.Status|statusConfirmed
			if trace.To != nil {
				p.Ct.To = *trace.To
			}
			sessions = append(sessions, p)
		}
	}
}

func twinText(table *Table) (text string) {
	for _, c := range table.Chains {
		text += fmt.Sprintf("chain %s %+v\n", c.Name, c.Hook)
		for i, r := range c.Rules {
			text += fmt.Sprintf("  %d %+v\n", i, r.Do)
		}
	}
	for _, s := range table.Sets {
		if s.Elements != nil {
			text += fmt.Sprintf("set %s %+v\n", s.Name, s.Elements.list())
		}
	}
	return text
}

// send sends a packet and tells what became of it. One that should leave is waited
// for: between coming in and leaving the kernel may have other things to do. If
// one leaves that should not, this is seen now or with the next packet.
func (g *twin) send(t fataler, p Packet, leaves bool) string {
	t.Helper()
	w := g.wires[0]
	if p.In == "lan1" {
		w = g.wires[1]
	}
	if err := unix.Send(w.fd, twinFrame(p, w.mac), 0); err != nil {
		t.Fatalf("send: %v", err)
	}
	g.entered++
	for end := time.Now().Add(longEnough); ; {
		now, err := g.k.Counts("portolan_counts")
		if err != nil {
			t.Fatalf("%v", err)
		}
		late := time.Now().After(end)
		if now["entered"].Packets < g.entered {
			if late {
				t.Fatalf("packet %+v did not come in", p)
			}
			continue
		}
		left := now["left"].Packets - g.before["left"].Packets
		if left > 1 {
			t.Fatalf("packet %+v: it or the one before left, which should not", p)
		}
		if leaves && !late && (left == 0 || now["counted"].Packets == g.before["counted"].Packets) {
			continue
		}
		return g.became(now)
	}
}

// became compares counters with those before.
func (g *twin) became(now map[string]Counted) string {
	before := g.before
	g.before = now
	if now["left"].Packets == before["left"].Packets {
		return "gone"
	}
	marks := map[string]uint32{}
	for bit := range twinMarkBits {
		for _, name := range []string{"mark", "ct", "label", "prio"} {
			if c := fmt.Sprintf("%s%d", name, bit); now[c].Packets != before[c].Packets {
				marks[name] |= 1 << bit
			}
		}
	}
	var places []string
	for what := range twinPlaces() {
		if now[what].Packets != before[what].Packets {
			places = append(places, what)
		}
	}
	return leftWith(marks["mark"], marks["ct"], marks["label"], marks["prio"], places)
}

// settle waits until all that was sent has gone its way, whatever that is.
func (g *twin) settle(t fataler) {
	g.want(t, nil)
	now, err := g.k.Counts("portolan_counts")
	if err != nil {
		t.Fatalf("%v", err)
	}
	g.before = now
}

// drawPacket draws the first packet of a connection.
func (g *twin) drawPacket(t *rapid.T) Packet {
	hosts := twinHosts[rapid.IntRange(0, 1).Draw(t, "family")]
	g.port++
	p := Packet{
		Source: rapid.SampledFrom(hosts[:2]).Draw(t, "source"), SourcePort: g.port,
		Dest: rapid.SampledFrom(hosts).Draw(t, "dest"), DestPort: rapid.SampledFrom(twinPorts).Draw(t, "port"),
		Protocol: rapid.SampledFrom([]uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_UDPLITE}).Draw(t, "protocol"),
		In:       rapid.SampledFrom([]string{"lan0", "lan1"}).Draw(t, "in"), EtherSource: twinMAC, Ct: CtInfo{State: CtNew},
	}
	switch {
	case p.Protocol == unix.IPPROTO_TCP:
		p.TCPFlags = 2
	case p.Protocol == unix.IPPROTO_UDP:
		p.DNSFlags = rapid.SampledFrom([]uint8{1, 0x29}).Draw(t, "DNS flags")
	case p.Protocol == unix.IPPROTO_ICMP && p.IPv6():
		p.Protocol = unix.IPPROTO_ICMPV6
	}
	return p
}

// twinFrame writes a packet as it goes over the twinWire.
func twinFrame(p Packet, to net.HardwareAddr) []byte {
	payload := twinTransport(p)
	b := append(append([]byte{}, to...), p.EtherSource[:]...)
	if p.IPv6() {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
		b = append(b, p.Protocol, 64)
	} else {
		head := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 0, 0x40, 0, 64, p.Protocol, 0, 0}
		head = append(append(head, p.Source.AsSlice()...), p.Dest.AsSlice()...)
		var sum uint32
		for i := 0; i < len(head); i += 2 {
			sum += uint32(head[i])<<8 | uint32(head[i+1])
		}
		binary.BigEndian.PutUint16(head[10:], ^uint16(sum+sum>>16))
		return append(append(append(b, 8, 0), head...), payload...)
	}
	return append(append(append(b, p.Source.AsSlice()...), p.Dest.AsSlice()...), payload...)
}

func twinTransport(p Packet) []byte {
	head := append(Port(p.SourcePort), Port(p.DestPort)...)
	switch p.Protocol {
	case unix.IPPROTO_TCP:
		return append(head, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, p.TCPFlags, 0xff, 0xff, 0, 0, 0, 0)
	case unix.IPPROTO_UDP:
		return append(head, 0, 12, 1, 1, 1, 2, p.DNSFlags, 4)
	case unix.IPPROTO_ICMP:
		return append([]byte{8, 0, 0, 0}, append(Port(p.SourcePort), 0, 1)...)
	case unix.IPPROTO_ICMPV6:
		return append([]byte{128, 0, 0, 0}, append(Port(p.SourcePort), 0, 1)...)
	}
	return append(head, 0, 8, 1, 1, 1, 2, 3, 4) // UDP-Lite, with a checksum of its header alone
}
