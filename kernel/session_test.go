package kernel

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A session as Linux 6.18 tells it: UDP through source NAT, marked, counted.
func sessionMessage(original, reply Tuple, more ...[]byte) []byte {
	b := []byte{unix.AF_INET, 0, 0, 0}
	b = append(b, nested(ctaTupleOriginal, original.bytes())...)
	b = append(b, nested(ctaTupleReply, reply.bytes())...)
	return append(b, slices.Concat(more...)...)
}

func port(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestParseSession(t *testing.T) {
	original := Tuple{Protocol: unix.IPPROTO_TCP, Source: port("10.0.0.5:40000"), Destination: port("8.8.8.8:443")}
	reply := Tuple{Protocol: unix.IPPROTO_TCP, Source: port("8.8.8.8:443"), Destination: port("203.0.113.7:40000")}
	s, ok := parseSession(sessionMessage(original, reply,
		attribute(ctaStatus, big32(StatusSeenReply|StatusAssured)),
		attribute(ctaTimeout, big32(432000)),
		attribute(ctaMark, big32(0x10000003)),
		attribute(ctaLabels, ServiceLabel(0xb8)),
		attribute(ctaID, big32(0xfedcba98)),
		attribute(ctaZone, big16(7)),
		nested(ctaTupleMaster, original.bytes()),
		nested(ctaHelp, attribute(ctaHelpName, []byte("ftp\x00"))),
		nested(ctaProtocolInfo, nested(ctaProtocolInfoTCP, attribute(ctaTCPState, []byte{3}))),
		nested(ctaCountersReply, append(attribute(ctaCountersPackets, append(big32(0), big32(12)...)), attribute(ctaCountersOctets, append(big32(1), big32(5)...))...)),
	))
	s.tupleRaw = nil
	want := Session{ID: 0xfedcba98, Zone: 7, Original: original, Reply: reply, Mark: 0x10000003, Label: [labelWidth]byte(ServiceLabel(0xb8)), Status: StatusSeenReply | StatusAssured,
		Timeout: 432000 * time.Second, State: "ESTABLISHED", Child: true, Helper: "ftp", Traffic: [2]Traffic{1: {12, 1<<32 + 5}}}
	if !ok || !sameSession(s, want) {
		t.Errorf("got %+v %v, want %+v", s, ok, want)
	}
	icmp := Tuple{Protocol: unix.IPPROTO_ICMPV6, Source: port("[fd00::1]:0"), Destination: port("[2001:db8::1]:0"), Kind: 128, ID: 99}
	if s, ok := parseSession(sessionMessage(icmp, icmp)); !ok || s.Original != icmp || s.Reply != icmp {
		t.Errorf("ICMP: got %+v %v", s, ok)
	}
	if _, ok := parseSession([]byte{2, 0, 0, 0}); ok {
		t.Error("a session without addresses")
	}
	mixed := append(nested(ctaTupleIP, append(attribute(ctaIP4Source, v4("192.0.2.1")), attribute(ctaIP6Destination, icmp.Source.Addr().AsSlice())...)), nested(ctaTupleProtocol, nil)...)
	if _, _, ok := parseTuple(mixed); ok {
		t.Error("a tuple of two families")
	}
}

func sameSession(a, b Session) bool {
	a.tupleRaw, b.tupleRaw = nil, nil
	return a.ID == b.ID && a.Zone == b.Zone && a.Original == b.Original && a.Reply == b.Reply && a.Mark == b.Mark && a.Label == b.Label && a.Status == b.Status &&
		a.Timeout == b.Timeout && a.State == b.State && a.Traffic == b.Traffic && a.Child == b.Child && a.Helper == b.Helper
}

// What one reads and writes again is the same, and nothing makes it panic.
func FuzzParseSession(f *testing.F) {
	tuple := Tuple{Protocol: unix.IPPROTO_UDP, Source: port("10.0.0.5:40000"), Destination: port("8.8.8.8:53")}
	f.Add(sessionMessage(tuple, tuple, attribute(ctaMark, big32(3))))
	ping := Tuple{Protocol: unix.IPPROTO_ICMP, Source: port("10.0.0.5:0"), Destination: port("8.8.8.8:0"), Kind: 8, ID: 1}
	f.Add(sessionMessage(ping, ping))
	f.Add([]byte{10, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var stats Tracking
		stats.global(b)
		stats.processor(b)
		s, ok := parseSession(b)
		if !ok {
			return
		}
		again, _, ok := parseTuple(s.Original.bytes())
		if !ok || again.Source.Addr() != s.Original.Source.Addr() || again.Protocol != s.Original.Protocol {
			t.Errorf("%+v was written as %+v %v", s.Original, again, ok)
		}
		_ = s.key()
	})
}

// The end of a question is read with the kernel's own words, if it has any.
func TestVerdict(t *testing.T) {
	errno := native.AppendUint32(nil, ^uint32(unix.EINVAL)+1)
	header := message(1, 2, 3, nil)
	words := attribute(nlmsgerrMessage, []byte("no such thing\x00"))
	for name, c := range map[string]struct {
		body  []byte
		flags uint16
		want  string
	}{
		"done":         {nil, 0, ""},
		"well":         {make([]byte, 20), 0, ""},
		"an error":     {slices.Concat(errno, header), 0, "invalid argument"},
		"with words":   {slices.Concat(errno, header, words), unix.NLM_F_ACK_TLVS | unix.NLM_F_CAPPED, "invalid argument (no such thing)"},
		"not capped":   {slices.Concat(errno, message(1, 2, 3, make([]byte, 8)), words), unix.NLM_F_ACK_TLVS, "invalid argument (no such thing)"},
		"cut short":    {slices.Concat(errno, header, words[:7]), unix.NLM_F_ACK_TLVS | unix.NLM_F_CAPPED, "invalid argument"},
		"a long claim": {slices.Concat(errno, native.AppendUint32(nil, 1<<31), header[4:]), unix.NLM_F_ACK_TLVS, "invalid argument"},
	} {
		got := ""
		if err := verdict(c.body, c.flags); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(append(message(2, unix.NLM_F_ACK_TLVS, 1, native.AppendUint32(nil, 0xffffffff)), message(3, 0, 1, nil)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		left := len(b)
		for m := range messages(b) {
			if left -= unix.SizeofNlMsghdr + len(m.body); left < 0 {
				t.Fatal("more than there is")
			}
			_ = verdict(m.body, m.flags)
		}
	})
}
