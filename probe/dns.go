package probe

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// probeDNS asks the target one question, over UDP, and once more over TCP if
// the answer was cut short; or as its [Transport] says. It passes on the expected rcode and, if an address
// is expected, on an answer that holds it.
func probeDNS(ctx context.Context, t *Task) Result {
	query, rcode, err := t.question()
	if err != nil {
		return t.failed(err)
	}
	start := time.Now()
	reply, err := t.exchange(ctx, query)
	if err != nil {
		return t.failed(err)
	}
	return t.judgeDNS(reply, rcode, time.Since(start))
}

func (t *Task) question() (*dns.Msg, int, error) {
	p := t.Probe
	qtype, ok := dns.StringToType[strings.ToUpper(cmp.Or(p.QueryType, "A"))]
	if !ok {
		return nil, 0, voidError(fmt.Sprintf("query type %q is unknown", p.QueryType))
	}
	rcode, ok := dns.StringToRcode[strings.ToUpper(cmp.Or(p.Rcode, "NOERROR"))]
	if !ok {
		return nil, 0, voidError(fmt.Sprintf("rcode %q is unknown", p.Rcode))
	}
	query := new(dns.Msg).SetQuestion(dns.Fqdn(p.QueryName), qtype)
	return query.SetEdns0(1232, false), rcode, nil
}

// ask makes one exchange. The library drops replies with a foreign id.
func (t *Task) ask(ctx context.Context, network string, query *dns.Msg) (*dns.Msg, error) {
	conn, hangUp, err := t.dial(ctx, network)
	if err != nil {
		return nil, err
	}
	defer hangUp()
	c := dns.Client{Net: network, Timeout: time.Duration(t.Probe.Timeout), UDPSize: 1232}
	reply, _, err := c.ExchangeWithConnContext(ctx, query, &dns.Conn{Conn: conn, UDPSize: 1232})
	return reply, err
}

func (t *Task) judgeDNS(reply *dns.Msg, rcode int, d time.Duration) Result {
	seen := fmt.Sprintf("%s with %d answers in %s", dns.RcodeToString[reply.Rcode], len(reply.Answer), took(d))
	switch want := t.Probe.Answer; {
	case reply.Rcode != rcode:
		return t.fail("%s, expected %s", seen, dns.RcodeToString[rcode])
	case want.IsValid() && !slices.ContainsFunc(reply.Answer, func(rr dns.RR) bool { return carries(rr, want) }):
		return t.fail("%s, none of them %s", seen, want)
	default:
		return t.pass("%s", seen)
	}
}

// carries says whether a record is an address record for addr.
func carries(rr dns.RR, addr netip.Addr) bool {
	var got netip.Addr
	switch rr := rr.(type) {
	case *dns.A:
		got, _ = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		got, _ = netip.AddrFromSlice(rr.AAAA)
	}
	return got.Unmap() == addr.Unmap()
}
