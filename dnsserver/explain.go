package dnsserver

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/topology"
)

// Ask is a question to explain.
type Ask struct {
	Name   string
	Type   string       // "A", "HTTPS", "TYPE65"; empty is A
	Client netip.Addr   // the packet's source
	ECS    netip.Prefix // the query's Client Subnet; zero: none
	At     time.Time
	Gauges *status.Gauges // the live numbers; nil: none are known
	Assume []status.Row   // what if these rows stood so
}

// Explanation is why a query is answered as it is. The code that answers
// writes it: an explanation is an answer that was traced.
type Explanation struct {
	Name      string            `json:"name"`
	Type      string            `json:"type"`
	Client    ClientTrace       `json:"client"`
	Assumed   []status.ID       `json:"assumed,omitempty"` // rows that were not taken as they are
	Lookup    []string          `json:"lookup"`
	Topology  *topology.Finding `json:"topology,omitempty"` // only where a pool was asked
	Decisions []*DecisionTrace  `json:"decisions,omitempty"`

	Dropped    bool     `json:"dropped,omitempty"` // no reply at all
	Rcode      string   `json:"rcode,omitempty"`
	Answer     []string `json:"answer,omitempty"` // records as in a master file
	Authority  []string `json:"authority,omitempty"`
	Additional []string `json:"additional,omitempty"`
	EDE        string   `json:"ede,omitempty"`
	ECS        string   `json:"ecs,omitempty"` // prefix/scope as echoed
}

// ClientTrace is which address the answer was made for, and why that one.
type ClientTrace struct {
	Address netip.Addr   `json:"address"`
	Known   netip.Prefix `json:"known"` // the part of it that is known
	Source  netip.Addr   `json:"source"`
	Why     string       `json:"why"`
}

// Explain answers a question as it would be answered over TCP, and tells why.
// It has no effect: the draw that the next real query gets stays as it is.
func (t *Table) Explain(rows *status.Table, ask Ask) (*Explanation, error) {
	msg, err := ask.message()
	if err != nil {
		return nil, err
	}
	if len(ask.Assume) > 0 {
		rows = rows.With(ask.Assume...)
	}
	q := parseQuery(msg, ask.Client, t, true).at(ask.At, rows)
	q.question.peek, q.question.trace, q.question.gauges = true, &Trace{}, ask.Gauges
	q.listener = t.firstListener()
	q.admit(t, nil)
	reply := answer(t, q)
	e := &Explanation{Name: q.name, Type: dns.Type(q.qtype).String(), Client: q.clientTrace(t),
		Lookup: q.question.trace.Lookup, Decisions: q.question.trace.Decisions}
	for _, r := range ask.Assume {
		e.Assumed = append(e.Assumed, r.ID)
	}
	if len(e.Decisions) > 0 {
		f := t.topology.Explain(q.question.client.addr)
		e.Topology = &f
	}
	e.setReply(reply)
	return e, nil
}

// message packs the question as a client would.
func (ask *Ask) message() ([]byte, error) {
	name := ask.Name
	qtype, err := typeOf(ask.Type)
	if err != nil {
		return nil, err
	}
	if _, ok := dns.IsDomainName(name); !ok || name == "" {
		return nil, fmt.Errorf("%q is no domain name", name)
	}
	if !ask.Client.IsValid() {
		return nil, fmt.Errorf("a client address is needed")
	}
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype)
	m.SetEdns0(4096, false)
	if ask.ECS.IsValid() {
		m.IsEdns0().Option = append(m.IsEdns0().Option, subnetOption(ask.ECS.Masked()))
	}
	return m.Pack()
}

// typeOf reads a record type, also in the form of RFC 3597.
func typeOf(text string) (uint16, error) {
	if text == "" {
		return dns.TypeA, nil
	}
	if t, ok := dns.StringToType[text]; ok {
		return t, nil
	}
	number, ok := strings.CutPrefix(text, "TYPE")
	t, err := strconv.ParseUint(number, 10, 16)
	if !ok || err != nil {
		return 0, fmt.Errorf("type %q is no record type", text)
	}
	return uint16(t), nil
}

func subnetOption(p netip.Prefix) *dns.EDNS0_SUBNET {
	o := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}
	if p.Addr().Is6() {
		o.Family = 2
	}
	return o
}

func (q *query) clientTrace(t *Table) ClientTrace {
	c := q.question.client
	known, _ := c.addr.Prefix(c.bits)
	tr := ClientTrace{Address: c.addr, Known: known, Source: c.source, Why: "the packet's source: the query has no Client Subnet"}
	switch sub := q.edns.subnet; {
	case c.ecs:
		tr.Why = "Client Subnet of the query"
	case sub.present && !t.ecs:
		tr.Why = "the packet's source: dns.ecs is off, so Client Subnet is not used"
	case sub.present && sub.bits == 0:
		tr.Why = "the packet's source: Client Subnet /0 asks not to be used"
	}
	return tr
}

func (e *Explanation) setReply(reply *dns.Msg) {
	if reply == nil {
		e.Dropped = true
		return
	}
	e.Rcode = dns.RcodeToString[reply.Rcode]
	e.Answer, e.Authority = texts(reply.Answer), texts(reply.Ns)
	for _, rr := range reply.Extra {
		opt, ok := rr.(*dns.OPT)
		if !ok {
			e.Additional = append(e.Additional, rr.String())
			continue
		}
		for _, o := range opt.Option {
			switch o := o.(type) {
			case *dns.EDNS0_EDE:
				e.EDE = strings.TrimSuffix(o.String(), ": ()")
			case *dns.EDNS0_LOCAL:
				e.ECS = subnetText(o)
			}
		}
	}
}

func subnetText(o *dns.EDNS0_LOCAL) string {
	s := parseSubnet(append(append([]byte(nil), o.Data[:3]...), append([]byte{0}, o.Data[4:]...)...))
	return fmt.Sprintf("%s/%d/%d", s.addr, s.bits, o.Data[3])
}

func texts(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		out = append(out, rr.String())
	}
	return out
}
