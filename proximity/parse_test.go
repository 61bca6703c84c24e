package proximity

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// Only an answer to a packet that was sent counts, and only the first (T53).
func TestCredit_T53(t *testing.T) {
	now := time.Now().Add(-time.Second)
	router := netip.MustParseAddr("100.64.0.1")
	to := func(host string, ttl int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(host), uint16(basePort+ttl))
	}
	nonce := []byte("0123456789abcdef")
	for name, c := range map[string]struct {
		a    answer
		want bool
	}{
		"quotes all":        {answer{to: to("192.0.2.77", 4), from: router, quoted: nonce}, true},
		"quotes nothing":    {answer{to: to("192.0.2.77", 4), from: router}, true},
		"quotes and pads":   {answer{to: to("192.0.2.77", 4), from: router, quoted: append(nonce[:16:16], 0, 0)}, true},
		"other nonce":       {answer{to: to("192.0.2.77", 4), from: router, quoted: []byte("0123456789abcdeX")}, false},
		"other host":        {answer{to: to("192.0.2.78", 4), from: router, quoted: nonce}, false},
		"not sent":          {answer{to: to("192.0.2.77", 5), from: router, quoted: nonce}, false},
		"below the ports":   {answer{to: to("192.0.2.77", 0), from: router, quoted: nonce}, false},
		"above the ports":   {answer{to: to("192.0.2.77", directTTL+1), from: router, quoted: nonce}, false},
		"answered already":  {answer{to: to("192.0.2.77", 8), from: router, quoted: nonce}, false},
		"port of elsewhere": {answer{to: netip.MustParseAddrPort("192.0.2.77:53"), from: router, quoted: nonce}, false},
	} {
		tr := &trace{target: bench4, nonce: nonce}
		tr.hops[4].sent, tr.hops[8].sent = now, now
		tr.hops[8].from = bench4
		was := tr.hops
		c.a.came.At = now.Add(time.Millisecond)
		tr.credit(c.a)
		if got := tr.hops != was; got != c.want {
			t.Errorf("%s: counts %v", name, got)
		}
		if c.want && (tr.hops[4].from != router || tr.hops[4].rtt != time.Millisecond) {
			t.Errorf("%s: %+v", name, tr.hops[4])
		}
	}
}

func TestAnswersRoot_T53(t *testing.T) {
	message := func(change func(*dnsmessage.Message)) []byte {
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true, RCode: dnsmessage.RCodeRefused}, Questions: []dnsmessage.Question{rootQuestion}}
		change(&m)
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	refused := message(func(*dnsmessage.Message) {})
	counts := func(at int) []byte { b := bytes.Clone(refused); b[at]++; return b }
	truncated := counts(7)
	truncated[2] |= 2
	for name, c := range map[string]struct {
		packet []byte
		want   bool
	}{
		"refused":           {refused, true},
		"other id":          {message(func(m *dnsmessage.Message) { m.ID = 8 }), false},
		"a query":           {message(func(m *dnsmessage.Message) { m.Response = false }), false},
		"other opcode":      {message(func(m *dnsmessage.Message) { m.OpCode = 5 }), false},
		"other type":        {message(func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeA }), false},
		"other name":        {message(func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("x.") }), false},
		"no question":       {message(func(m *dnsmessage.Message) { m.Questions = nil }), false},
		"two questions":     {message(func(m *dnsmessage.Message) { m.Questions = append(m.Questions, rootQuestion) }), false},
		"cut short":         {refused[:len(refused)-1], false},
		"answer missing":    {counts(7), false},
		"authority missing": {counts(9), false},
		"additional absent": {counts(11), false},
		"truncated":         {truncated, true},
		"our query":         {rootQuery(7), false},
		"empty":             {nil, false},
	} {
		if got := answersRoot(c.packet, 7); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestIsAnswer_T53(t *testing.T) {
	segment := func(src, dst uint16, flags byte) []byte {
		b := make([]byte, 20)
		binary.BigEndian.PutUint16(b, src)
		binary.BigEndian.PutUint16(b[2:], dst)
		b[13] = flags
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"SYN-ACK":       {segment(53, 40000, 0x12), true},
		"RST":           {segment(53, 40000, 0x04), true},
		"RST-ACK":       {segment(53, 40000, 0x14), true},
		"ACK":           {segment(53, 40000, 0x10), false},
		"SYN":           {segment(53, 40000, 0x02), false},
		"other port":    {segment(54, 40000, 0x12), false},
		"to other port": {segment(53, 40001, 0x12), false},
		"cut short":     {segment(53, 40000, 0x12)[:19], false},
	} {
		if got := isAnswer(c.b, 40000, 53); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// extended is an error as the kernel puts it into a control message.
func extended(origin, kind byte, family uint16, name []byte) []byte {
	b := make([]byte, extendedErr)
	b[4], b[5] = origin, kind
	return append(binary.NativeEndian.AppendUint16(b, family), name...)
}

func controlMessage(level, kind int, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(kind))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func TestParseOffender(t *testing.T) {
	four, six := append([]byte{0, 0}, netip.MustParseAddr("100.64.0.1").AsSlice()...), append(make([]byte, 6), bench6.AsSlice()...)
	ttl := controlMessage(unix.IPPROTO_IP, unix.IP_TTL, []byte{57, 0, 0, 0})
	for name, c := range map[string]struct {
		oob  []byte
		want netip.Addr
	}{
		"exceeded":        {append(ttl, controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extended(2, 11, unix.AF_INET, four))...), netip.MustParseAddr("100.64.0.1")},
		"unreachable":     {controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extended(2, 3, unix.AF_INET, four)), netip.MustParseAddr("100.64.0.1")},
		"of our own":      {controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extended(1, 3, unix.AF_INET, four)), netip.Addr{}},
		"source quench":   {controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extended(2, 4, unix.AF_INET, four)), netip.Addr{}},
		"no family":       {controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extended(2, 3, 0, four)), netip.Addr{}},
		"address is cut":  {controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extended(2, 3, unix.AF_INET, four[:5])), netip.Addr{}},
		"v6 exceeded":     {controlMessage(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, extended(3, 3, unix.AF_INET6, six)), bench6},
		"v6 unreachable":  {controlMessage(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, extended(3, 1, unix.AF_INET6, six)), bench6},
		"v6 too big":      {controlMessage(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, extended(3, 2, unix.AF_INET6, six)), netip.Addr{}},
		"another message": {controlMessage(unix.SOL_SOCKET, unix.IP_RECVERR, extended(2, 11, unix.AF_INET, four)), netip.Addr{}},
		"empty":           {nil, netip.Addr{}},
		"cut":             {ttl[:7], netip.Addr{}},
	} {
		if got := parseOffender(c.oob); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func FuzzParseOffender(f *testing.F) {
	f.Add(controlMessage(unix.IPPROTO_IP, unix.IP_TTL, []byte{57, 0, 0, 0}))
	f.Add(controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extended(2, 11, unix.AF_INET, make([]byte, 6))))
	f.Add(controlMessage(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, extended(3, 3, unix.AF_INET6, make([]byte, 22))))
	f.Fuzz(func(t *testing.T, oob []byte) {
		if a := parseOffender(oob); a.IsValid() && !bytes.Contains(oob, a.AsSlice()) {
			t.Errorf("offender %s was made up", a)
		}
	})
}

func FuzzAnswersRoot(f *testing.F) {
	f.Add(rootQuery(0x1234))
	f.Add(refusal(rootQuery(0x1234)))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if answersRoot(packet, 0x1234) && (len(packet) < 17 || binary.BigEndian.Uint16(packet) != 0x1234 || packet[2]&0x80 == 0) {
			t.Errorf("counts %x", packet)
		}
	})
}

func FuzzIsAnswer(f *testing.F) {
	f.Add(make([]byte, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		if isAnswer(b, 40000, 53) && !bytes.HasPrefix(b, []byte{0, 53, 40000 >> 8, 40000 & 0xff}) {
			t.Errorf("counts %x", b)
		}
	})
}
