package kernel

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// What fields take for granted is written out once, before the step that needs
// it, and a rule that no packet can match is an error.
func TestLower(t *testing.T) {
	is := func(f Field, to ...byte) Step { return Is{Of: f, To: to} }
	for _, c := range []struct {
		name string
		do   []Step
		want string
	}{
		{"an address", []Step{Is{Of: Source4, To: addr("192.0.2.1")}, Is{Of: Dest4, To: addr("192.0.2.2")}}, "meta nfproto ipv4 ip saddr 192.0.2.1 ip daddr 192.0.2.2"},
		{"not an address is of the family too", []Step{Is{Of: Source6, Op: NotEqual, To: addr("2001:db8::1")}}, "meta nfproto ipv6 ip6 saddr != 2001:db8::1"},
		{"the family is known", []Step{is(Family, family4), Is{Of: Source4, To: addr("192.0.2.1")}}, "meta nfproto ipv4 ip saddr 192.0.2.1"},
		{"not this family says nothing", []Step{Is{Of: Family, Op: NotEqual, To: []byte{family6}}, In{Key: Source4, Set: "s"}}, "meta nfproto != ipv6 meta nfproto ipv4 ip saddr @s"},
		{"ports of any protocol that has them", []Step{Is{Of: DestPort, To: Port(53)}, Is{Of: SourcePort, To: Port(53)}}, "meta l4proto @with_ports th dport 53 th sport 53"},
		{"the protocol is known", []Step{is(Protocol, 17), Is{Of: DestPort, To: Port(53)}}, "meta l4proto udp th dport 53"},
		{"flags", []Step{Is{Of: TCPFlags, To: []byte{2}}}, "meta l4proto tcp tcp flags 0x02"},
		{"the flags of a DNS message", []Step{Is{Of: Masked{DNSFlags, []byte{0x78}}, Op: NotEqual, To: []byte{0}}}, "meta l4proto udp @th,80,8 & 0x78 != 0x00"},
		{"the flags of a DNS message over TCP", []Step{is(Protocol, 6), Is{Of: DNSFlags, To: []byte{0}}}, "error"},
		{"in the key of a look-up", []Step{Choose{Lookup{Join{Dest6, DestPort}, "m"}, "v"}}, "meta nfproto ipv6 meta l4proto @with_ports ip6 daddr . th dport map @m vmap @v"},
		{"ether", []Step{Is{Of: EtherSource, To: []byte{2, 0, 0, 0, 0, 1}}}, "meta iiftype ether ether saddr 02:00:00:00:00:01"},
		{"tproxy", []Step{TProxy{IPv6: true, Port: 5300}}, "meta nfproto ipv6 meta l4proto @with_ports tproxy ip6 to :5300"},
		{"both families", []Step{Is{Of: Source4, To: addr("192.0.2.1")}, Is{Of: Source6, To: addr("::1")}}, "error"},
		{"ports of ICMP", []Step{is(Protocol, 1), Is{Of: DestPort, To: Port(53)}}, "error"},
		{"a reset of UDP", []Step{is(Protocol, 17), Reject{TCPReset}}, "error"},
	} {
		got := "error"
		if steps, err := lower(c.do); err == nil {
			var texts []string
			for _, s := range steps {
				texts = append(texts, stepText(s, nil))
			}
			got = strings.Join(texts, " ")
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Wishes that make no sense are told, each with its place, and left out.
func TestSenselessWishes(t *testing.T) {
	sets := []Set{
		{Name: "s", Key: []Type{TypeAddr4}}, {Name: "d", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Dynamic: true},
		{Name: "names", Key: []Type{TypeName}, Interval: true}, {Name: "s", Key: []Type{TypePort}},
	}
	for _, c := range []struct {
		do   Step
		want string
	}{
		{In{Key: Source4, Set: "nothing"}, `the table has no set "nothing"`},
		{In{Key: Source6, Set: "s"}, "set s has keys of 4 octets, this is one of 16"},
		{Is{Of: Mark, Op: Less, To: Number(5)}, "more and less mean nothing"},
		{Is{Of: Source4, To: Number(5)[:3]}, "4 octets are compared with 3"},
		{Choose{Key: Source4, Map: "s"}, "s is no map of verdicts"},
		{Change{Set: "s", Key: Source4}, "set s is not dynamic"},
		{Change{Set: "d", Key: Source4, Data: Const(Port(1))}, "map d has data of 4 octets, this is 2"},
		{SetMark{Mask: LinkMask, Bits: 1 << 12}, "bits 0x1000 outside of mask 0x3ff"},
		{SetTOS{TOS: 0xb9}, "those of ECN"},
		{SetCtLabel{Number(1)}, "a label has 16 octets, not 4"},
		{Is{Of: Join{Source6, Dest6, Source6, Dest6, Source6}, To: make([]byte, 80)}, "more than the 16 registers"},
		{CopyMark{Lookup{Join{Dest6, Source6, Dest6, Source6, Mark}, "s"}}, "more than the 16 registers"},
		{Within{DestPort, Port(2), Port(1)}, "ends before it begins"},
		{RateOver{}, "a rate of 0"},
	} {
		w := wishOf(&Table{Name: "portolan_test", Sets: sets, Chains: []Chain{{Name: "c", Rules: []Rule{{Tell: "bad", Do: []Step{c.do}}, {Do: []Step{Drop{}}}}}}})
		all := strings.Join(w.problems, "\n")
		if !strings.Contains(all, "set names: ranges are of types in the network") || !strings.Contains(all, "set s: there are two") {
			t.Errorf("sets: %s", all)
		}
		if !strings.Contains(all, "chain c rule 1 (bad)") || !strings.Contains(all, c.want) || len(w.chains[0].rules) != 1 {
			t.Errorf("%T: %s, want %s", c.do, all, c.want)
		}
	}
}

// The longest list of rules that can stay, against a slow twin.
func TestMatchKeepsMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 9)
		want, have := list.Draw(t, "want"), list.Draw(t, "have")
		got := match(want, have, func(a, b int) bool { return a == b })
		last, kept := -1, 0
		for i, at := range got {
			if at < 0 {
				continue
			}
			if at <= last || want[i] != have[at] {
				t.Fatalf("%v of %v and %v", got, want, have)
			}
			last = at
			kept++
		}
		if most := longestCommon(want, have); kept != most {
			t.Fatalf("%d stay of %v and %v, %d could", kept, want, have, most)
		}
	})
}

func longestCommon(a, b []int) int {
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	if a[0] == b[0] {
		return 1 + longestCommon(a[1:], b[1:])
	}
	return max(longestCommon(a[1:], b), longestCommon(a, b[1:]))
}

// Ranges come back as they were written, at both ends of all keys and side by
// side.
func TestRangesComeBack(t *testing.T) {
	set := &Set{Name: "s", Key: []Type{TypePort}, Interval: true}
	rapid.Check(t, func(t *rapid.T) {
		bounds := rapid.SliceOfNDistinct(rapid.OneOf(rapid.Uint16(), rapid.Just(uint16(0)), rapid.Just(uint16(65535)), rapid.Uint16Range(0, 9)), 0, 9, rapid.ID[uint16]).Draw(t, "bounds")
		slices.Sort(bounds)
		var want []Element
		for i, from := range bounds {
			to := from
			if i+1 < len(bounds) && rapid.Bool().Draw(t, "up to the next") {
				to = bounds[i+1] - 1
			} else if i+1 == len(bounds) && rapid.Bool().Draw(t, "to the end") {
				to = 65535
			}
			want = append(want, Element{Key: Port(from), End: Port(to)}.normal())
		}
		var raw []rawElement
		body := wireElements("t", set, want, false)
		parseElements(body, func(el Element, end bool) { raw = append(raw, rawElement{el, end}) })
		got := joinRanges(raw)
		if len(got) != len(want) {
			t.Fatalf("%v came back as %v", want, got)
		}
		for i := range got {
			if got[i].id() != want[i].id() {
				t.Fatalf("%v came back as %v", want, got)
			}
		}
	})
}

// Whatever comes from the kernel or from what users keep in rules is read
// without a panic.
func FuzzNFT(f *testing.F) {
	set := &Set{Name: "s", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Interval: true}
	f.Add(wireElements("portolan_x", set, []Element{with(rangeOf("192.0.2.0/24"), 1)}, false))
	f.Add(wireSet("portolan_x", set))
	f.Add(wireChain("portolan_x", "c", &Hook{"filter", "input", 1}))
	f.Add((&ruleWish{tell: "x", sum: 7}).userData())
	f.Fuzz(func(t *testing.T, b []byte) {
		var raw []rawElement
		parseElements(b, func(el Element, end bool) { raw = append(raw, rawElement{el, end}) })
		joinRanges(raw)
		have := noTable()
		a := attributesOf(b)
		have.chain(a)
		have.rule(a)
		have.object(a)
		have.set(a)
		changedTables(b, 0)
		if sum, ok := markOf(b); ok && !bytes.Contains(b, []byte{userMark, 8}) {
			t.Errorf("a mark %d out of nowhere", sum)
		}
	})
}

// The checksum and the comment of a rule are found again; nft's own data are not
// taken for ours.
func TestMarkOf(t *testing.T) {
	r := &ruleWish{tell: strings.Repeat("é", 100), sum: 1<<63 + 5}
	if sum, ok := markOf(r.userData()); !ok || sum != r.sum {
		t.Errorf("found %x, %v", sum, ok)
	}
	if len(r.userData()) > unix.NFT_USERDATA_MAXLEN {
		t.Errorf("%d octets", len(r.userData()))
	}
	if _, ok := markOf([]byte{userComment, 3, userMark, 8, 0}); ok {
		t.Error("a comment is taken for our mark")
	}
}

// Notifications of our own transactions do not have tables read again, nor do
// those of tables that are not ours.
func TestChangedTables(t *testing.T) {
	note := func(port uint32, kind uint16, table string) []byte {
		b := message(nft16(kind), 0, 1, wireTable(table))
		native.PutUint32(b[12:], port)
		return b
	}
	b := slices.Concat(note(7, unix.NFT_MSG_NEWRULE, "portolan_a"), note(8, unix.NFT_MSG_DELSETELEM, "portolan_b"), note(8, unix.NFT_MSG_NEWRULE, "filter"), note(8, unix.NFT_MSG_NEWGEN, "portolan_c"))
	if got := changedTables(b, 7); len(got) != 1 || !got["portolan_b"] {
		t.Errorf("changed are %v", got)
	}
}
