package kernel

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// standing is a Kernel that runs in a namespace.
type standing struct {
	*Kernel
	t    testing.TB
	at   *nettest.Space
	stop func()

	mu   sync.Mutex
	sent []string // a line for each message of each transaction
	rows map[status.ID]status.Row
	fail func([]string) error
}

func stand(t testing.TB, at *nettest.Space) *standing {
	t.Helper()
	return standWith(t, at, Options{})
}

func standWith(t testing.TB, at *nettest.Space, opts Options) *standing {
	t.Helper()
	s := &standing{t: t, at: at, rows: map[status.ID]status.Row{}}
	opts.Report, opts.Fail = s.report, s.before
	if _, measured := t.(*testing.B); measured {
		opts.Fail = nil // the text of each message costs more than the message
	}
	var err error
	at.Do(func() { s.Kernel, err = New(opts) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		s.Close()
	})
	t.Cleanup(s.stop)
	return s
}

func (s *standing) report(rows []status.Row, gone []status.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rows {
		s.rows[r.ID] = r
	}
	for _, id := range gone {
		delete(s.rows, id)
	}
}

func (s *standing) before(messages []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, messages...)
	if s.fail != nil {
		return s.fail(messages)
	}
	return nil
}

// sentSince gives the messages since it was called last.
func (s *standing) sentSince() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = nil
	return sent
}

func (s *standing) row(owner string) status.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[status.MakeID(status.KindKernel, owner)]
}

func (s *standing) synced(owner string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), longEnough)
	defer cancel()
	if err := s.Sync(ctx, owner); err != nil {
		s.t.Fatal(err)
	}
}

// nftIn runs nft in a namespace.
func nftIn(t testing.TB, at *nettest.Space, stdin string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		nettest.Missing(t, "needs the program nft")
	}
	var out []byte
	var err error
	at.Do(func() {
		cmd := exec.CommandContext(t.Context(), "nft", args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err = cmd.CombinedOutput()
	})
	return string(out), err
}

func mustNFT(t testing.TB, at *nettest.Space, stdin string, args ...string) string {
	t.Helper()
	out, err := nftIn(t, at, stdin, args...)
	if err != nil {
		t.Fatalf("nft %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func addr(s string) []byte { return Addr(netip.MustParseAddr(s)) }

func rangeOf(s string) Element {
	p := netip.MustParsePrefix(s).Masked()
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	return Element{Key: p.Addr().AsSlice(), End: last}
}

// everything is a table with every step, every value and every kind of set.
func everything() Table {
	slots := NewElements()
	for i := range uint32(16) {
		slots.Put(Element{Key: Number(i), Data: Number(i%3 + 1)})
	}
	src4 := Lookup{Key: Source4, Map: "g1_src4"}
	return Table{
		Name:     "portolan_test",
		Counters: []string{"link/telecom", "link/unicom"},
		Sets: []Set{
			{Name: "lan", Key: []Type{TypeName}, Elements: NewElements(Element{Key: Name("lan0")}, Element{Key: Name("lan1")})},
			{Name: "g1_slots", Key: []Type{TypeNumber}, Data: []Type{TypeNumber}, Size: 256, Elements: slots},
			{Name: "g1_avail", Key: []Type{TypeNumber}, Verdicts: true, Elements: NewElements(
				Element{Key: Number(1), Verdict: Goto{"link_1"}}, Element{Key: Number(2), Verdict: Jump{"link_2"}}, Element{Key: Number(3), Verdict: Drop{}})},
			{Name: "g1_src4", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Dynamic: true, Timeout: 300 * time.Second, Size: 65536},
			{Name: "g1_pair6", Key: []Type{TypeAddr6, TypeAddr6}, Data: []Type{TypeNumber}, Dynamic: true, Size: 1000},
			{Name: "want4", Key: []Type{TypeAddr4}, Dynamic: true, Size: 1000},
			{Name: "counted", Key: []Type{TypeAddr4}, Dynamic: true, Size: 1000},
			{Name: "isp4", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Interval: true, Elements: NewElements(
				with(rangeOf("0.0.0.0/8"), 1), with(rangeOf("10.0.0.0/8"), 2), with(rangeOf("11.0.0.0/8"), 3), with(rangeOf("192.0.2.7/32"), 4), with(rangeOf("240.0.0.0/4"), 5))},
			{Name: "inside6", Key: []Type{TypeAddr6}, Interval: true, Elements: NewElements(rangeOf("2001:db8::/32"), rangeOf("ff00::/8"))},
			{Name: "portset", Key: []Type{TypePort}, Interval: true, Elements: NewElements(Element{Key: Port(80), End: Port(80)}, Element{Key: Port(8000), End: Port(8100)}, Element{Key: Port(65000), End: Port(65535)})},
			{Name: "services", Key: []Type{TypeProto, TypePort}, Elements: NewElements(Element{Key: Key([]byte{6}, Port(443))}, Element{Key: Key([]byte{17}, Port(53))})},
			{Name: "lasthop", Key: []Type{TypeName, TypeEther}, Data: []Type{TypeNumber}, Elements: NewElements(Element{Key: Key(Name("wan0"), []byte{2, 0, 0, 0, 0, 1}), Data: Number(1)})},
		},
		Chains: []Chain{
			{Name: "prerouting", Hook: &Hook{"filter", "prerouting", -150}, Rules: []Rule{
				{Tell: "what is intercepted is not balanced", Do: []Step{Is{Of: Masked{Mark, Number(Intercepted)}, Op: NotEqual, To: Number(0)}, Accept{}}},
				{Tell: "dns by tproxy", Do: []Step{In{Key: InName, Set: "lan"}, Is{Of: Family, To: []byte{2}}, Is{Of: Protocol, To: []byte{17}}, Is{Of: DestPort, To: Port(53)}, TProxy{Port: 5300}, SetMark{Intercepted, Intercepted}, Accept{}}},
				{Tell: "dns by tproxy, IPv6", Do: []Step{Is{Of: Protocol, To: []byte{6}}, Is{Of: DestPort, To: Port(53)}, TProxy{IPv6: true, Port: 5300}, SetMark{Intercepted, Intercepted}, Accept{}}},
				{Tell: "restore", Do: []Step{Is{Of: Masked{CtMark, Number(LinkMask)}, Op: NotEqual, To: Number(0)}, Is{Of: CtDirection, To: []byte{0}}, CopyMark{Masked{CtMark, Number(LinkMask)}}, Return{}}},
				{Tell: "new ones", Do: []Step{Is{Of: Masked{CtState, Number(CtNew)}, Op: NotEqual, To: Number(0)}, In{Key: InName, Set: "lan"}, Jump{"group_1"}}},
				{Tell: "last hop", Do: []Step{CopyMark{Lookup{Join{InName, EtherSource}, "lasthop"}}}},
				{Tell: "ftp", Do: []Step{Is{Of: Protocol, To: []byte{6}}, Is{Of: DestPort, To: Port(21)}, Is{Of: Masked{CtStatus, Number(1)}, Op: NotEqual, To: Number(0)}, Drop{}}},
			}},
			{Name: "group_1", Rules: []Rule{
				{Tell: "by source", Do: []Step{Choose{src4, "g1_avail"}}},
				{Tell: "by turn", Do: []Step{Choose{Lookup{Turn{16}, "g1_slots"}, "g1_avail"}}},
				{Tell: "by lot", Do: []Step{Choose{Lookup{Lot{16}, "g1_slots"}, "g1_avail"}}},
				{Tell: "by hash", Do: []Step{Choose{Lookup{Hash{Of: Join{Source4, Dest4}, Mod: 16, Seed: 7}, "g1_slots"}, "g1_avail"}}},
				{Tell: "by hash of six", Do: []Step{Choose{Lookup{Hash{Of: Join{Source6, Dest6, SourcePort}, Mod: 16}, "g1_slots"}, "g1_avail"}}},
				{Tell: "isp", Do: []Step{Is{Of: Lookup{Dest4, "isp4"}, To: Number(2)}, Goto{"link_1"}}},
				{Tell: "class", Do: []Step{Is{Of: Masked{Dest4, []byte{255, 255, 255, 0}}, To: addr("198.51.100.0")}, Accept{}}},
				{Tell: "class of six", Do: []Step{Is{Of: Masked{Source6, prefixMask(32, 128)}, Op: NotEqual, To: addr("2001:db8::")}, Accept{}}},
				{Tell: "class of ports", Do: []Step{In{Key: Join{Protocol, DestPort}, Set: "services"}, In{Key: DestPort, Set: "portset"}, In{Key: Dest6, Set: "inside6", Not: true}, Accept{}}},
				{Tell: "range", Do: []Step{Within{DestPort, Port(8000), Port(8100)}, Is{Of: SourcePort, Op: AtLeast, To: Port(1024)}, Is{Of: TCPFlags, To: []byte{2}}, Accept{}}},
				{Tell: "local", Do: []Step{Is{Of: DestType, To: Number(AddrLocal)}, Is{Of: SourceType, Op: NotEqual, To: Number(AddrMulticast)}, Return{}}},
				{Tell: "shifted", Do: []Step{Choose{Masked{Shifted{Mark, 10}, Number(LinkMask)}, "g1_avail"}}},
				{Tell: "want", Do: []Step{Change{How: Add, Set: "want4", Key: Masked{Dest4, []byte{255, 255, 255, 0}}, Timeout: 10 * time.Second}}},
				{Tell: "stale", Do: []Step{Change{How: Remove, Set: "g1_src4", Key: Source4}}},
				{Tell: "too many of one", Do: []Step{Change{How: Add, Set: "counted", Key: Source4, Over: 20}, Drop{}}},
				{Tell: "nobody", Do: []Step{Is{Of: Protocol, To: []byte{6}}, Reject{TCPReset}}},
			}},
			{Name: "link_1", Rules: []Rule{
				{Tell: "full", Do: []Step{CountOver{100}, Return{}}},
				{Tell: "too fast", Do: []Step{RateOver{200, 20}, Return{}}},
				{Tell: "learn", Do: []Step{Change{Set: "g1_src4", Key: Source4, Data: Const(Number(1)), Timeout: time.Minute}}},
				{Tell: "learn", Do: []Step{Change{Set: "g1_pair6", Key: Join{Source6, Dest6}, Data: Const(Number(1)), Timeout: time.Minute}}},
				{Tell: "commit", Do: []Step{Count{"link/telecom"}, SetCtMark{LinkMask, 1}, SetMark{LinkMask, 1}, Accept{}}},
			}},
			{Name: "link_2", Rules: []Rule{
				{Tell: "tos", Do: []Step{SetTOS{TOS: 0xb8}}},
				{Tell: "labelled already", Do: []Step{Is{Of: Masked{CtLabel, ServiceLabel(0)}, Op: NotEqual, To: make([]byte, labelWidth)}, Return{}}},
				{Tell: "no label", Do: []Step{Is{Of: Masked{CtLabel, ServiceMask()}, To: make([]byte, labelWidth)}, SetCtLabel{ServiceLabel(0xb8)}}},
				{Tell: "label", Do: []Step{Is{Of: Masked{CtLabel, ServiceMask()}, To: ServiceLabel(0xb8)}, Is{Of: CtDirection, To: []byte{0}}, SetTOS{TOS: 0xb8}}},
				{Tell: "tos6", Do: []Step{SetTOS{IPv6: true, TOS: 0xb8}}},
				{Tell: "commit", Do: []Step{SetCtMark{^uint32(0), 2}, Accept{}}},
			}},
			{Name: "forward", Hook: &Hook{"filter", "forward", -5}, Rules: []Rule{
				{Do: []Step{Is{Of: Masked{CtMark, Number(LinkMask)}, To: Number(5)}, Reject{HostUnreachable}}},
				{Do: []Step{Is{Of: Masked{CtMark, Number(LinkMask)}, To: Number(6)}, Reject{AdminProhibited}}},
				{Do: []Step{Is{Of: Masked{CtMark, Number(LinkMask)}, To: Number(7)}, Reject{PortUnreachable}}},
			}},
			{Name: "output", Hook: &Hook{"route", "output", -150}},
			{Name: "postrouting", Hook: &Hook{"nat", "postrouting", 100}, Rules: []Rule{
				{Do: []Step{Is{Of: OutName, To: Name("wan0")}, Masquerade{}}},
				{Do: []Step{Is{Of: OutName, To: Name("wan1")}, SNAT{From: netip.MustParseAddr("192.0.2.1")}}},
				{Do: []Step{Is{Of: OutName, To: Name("wan1")}, SNAT{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::7")}}},
			}},
		},
	}
}

func with(el Element, n uint32) Element { el.Data = Number(n); return el }

func prefixMask(ones, bits int) []byte {
	b := make([]byte, bits/8)
	for i := range ones {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

// Every step, value and kind of set is taken by the kernel, and nothing is left
// to do when it is compared with what was read back.
func TestEverything_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	table := everything()
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	if r := k.row("test"); r.Health != status.Up {
		t.Errorf("row %+v", r)
	}
	asRead(t, k, &table)
	out := mustNFT(t, at, "", "list", "ruleset") // nft 1.0.6 aborts on what it does not know
	for _, want := range []string{
		"iifname @lan meta nfproto ipv4 udp dport 53 tproxy ip to :5300",
		`counter name "link/telecom"`, "ip6 dscp set ef", "snat ip6 to 2001:db8::1-2001:db8::7", "reject with icmpx host-unreachable",
		"ct label set ", "ct label 120 ", "update @g1_pair6 { ip6 saddr . ip6 daddr timeout 1m", `comment "by source"`, "ct count over 100 return",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("nft does not list %q:\n%s", want, out)
		}
	}
}

// asRead compares a table that stands with what is wished, by a fresh reading.
func asRead(t testing.TB, k *standing, table *Table) {
	t.Helper()
	w := wishOf(table)
	have, err := readTable(k.asks, table.ID(), w)
	if err != nil {
		t.Fatal(err)
	}
	pl := &planner{table: table.ID(), want: w, have: have, pending: map[string]*pending{}, bad: func(p string) { t.Error(p) },
		carry: func(*setHave, *Set) []Element { return nil }}
	for name := range w.sets {
		pl.pending[name] = &pending{all: true}
	}
	for _, o := range pl.makePlan(false).ops() {
		t.Errorf("what stands is not as wished: %s", o.tell())
	}
}

// The text is what nft takes, as far as its words go.
func TestText_Root(t *testing.T) {
	at := nettest.New(t)
	table := everything()
	golden(t, "everything.txt", table.Text())
	for i, c := range table.Chains { // nft before 1.1.0 has no words for what is looked up twice, or compared
		table.Chains[i].Rules = slices.DeleteFunc(c.Rules, func(r Rule) bool {
			switch s := r.Do[0].(type) {
			case Choose:
				_, twice := s.Key.(Lookup)
				return twice
			case Is:
				_, looked := s.Of.(Lookup)
				return looked
			case Change:
				return s.Set == "g1_pair6" // nft 1.0.6 aborts: it has no registers left
			}
			return false
		})
	}
	if out, err := nftIn(t, at, table.Text(), "-c", "-f", "-"); err != nil {
		t.Errorf("nft: %v\n%s", err, out)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it and run the test with -update:\n%s", file, got)
	}
}
