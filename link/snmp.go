package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/portolan-lb/portolan/config"
)

// How a router is asked.
const (
	// huntStep is the time between two questions while we wait for the router
	// to refresh its counters.
	huntStep = 500 * time.Millisecond

	// quiet is how long counters that do not move may be old ones. No router
	// that we know of refreshes them less often than each 15 s.
	quiet = 15 * time.Second

	snmpRetries = 1                // a second try, then the question has failed
	reopenAfter = 3                // failures in a row, then a new socket and, in version 3, new keys
	findAgain   = 30 * time.Second // after an interface was not found
	findWithin  = 30 * time.Second // all questions of one search
)

// snmpSource reads the counters of a router's interface.
func snmpSource(l *config.Link) Source {
	spec := l.Meter.SNMP
	return func(ctx context.Context, give func(Sample, error)) {
		p := &poller{spec: spec, give: give, open: func(ctx context.Context) (router, func(), error) { return openSNMP(ctx, spec) }}
		p.run(ctx)
	}
}

// router is who is asked. [*gosnmp.GoSNMP] is one.
type router interface {
	Get(oids []string) (*gosnmp.SnmpPacket, error)
	GetBulk(oids []string, nonRepeaters uint8, maxRepetitions uint32) (*gosnmp.SnmpPacket, error)
}

// poller asks one router for one interface, one question at a time.
//
// Many routers answer with counters that they refresh only each few seconds.
// Questions at a pace of their own would then see the octets of no refresh, or
// of two, for the time of one: rates of zero, and double ones. So a sample is
// only taken at a refresh, which is hunted for: questions follow each other at
// huntStep until the counters move. That is at once where they are always
// fresh, and otherwise tells the time of the refresh to half a second:
//
//	the router's refreshes   |         |         |         |
//	questions                ..........?         .....?
//	samples                            x              x
//	                                   <- interval, or the next refresh after it ->
//
// Counters that have not moved for quiet are believed: nothing flows.
type poller struct {
	spec config.SNMP
	give func(Sample, error)
	open func(context.Context) (r router, closeIt func(), err error)

	where   place     // of the interface; zero: to be found
	last    answer    // to the last question, of this series
	moved   time.Time // when the counters were last seen to move
	sampled time.Time // when the last sample of this series was taken
	series  uint64
}

// place is where an interface stands in the router's tables.
type place struct {
	index  int
	column string // that its name was found in; empty: it was configured by index
}

// run asks until ctx ends.
func (p *poller) run(ctx context.Context) {
	p.series = uint64(time.Now().UnixNano())
	if p.spec.Index > 0 {
		p.where.index = p.spec.Index
	}
	for ctx.Err() == nil {
		err := p.session(ctx)
		if ctx.Err() == nil {
			p.give(Sample{}, err)
			rest(ctx, time.Duration(p.spec.Interval))
		}
	}
}

// session asks over one socket, until it fails several times in a row.
func (p *poller) session(ctx context.Context) error {
	r, closeIt, err := p.open(ctx)
	if err != nil {
		return fmt.Errorf("router %s: %s", p.spec.Address, plain(err))
	}
	defer closeIt()
	for failures := 0; ; {
		wait, err := p.round(ctx, r)
		if err == nil {
			failures = 0
		} else if failures++; failures == reopenAfter || ctx.Err() != nil {
			return err
		} else {
			p.give(Sample{}, err)
		}
		if !rest(ctx, wait) {
			return ctx.Err()
		}
	}
}

// round takes a sample and says how long to wait before the next round.
func (p *poller) round(ctx context.Context, r router) (wait time.Duration, err error) {
	interval := time.Duration(p.spec.Interval)
	if p.where.index == 0 {
		where, err := p.find(ctx, r)
		if err != nil {
			return max(interval, findAgain), err
		}
		p.where = where
		p.begin()
	}
	for {
		a, err := p.ask(r)
		switch {
		case errors.Is(err, errElsewhere):
			p.where = place{}
			return huntStep, err
		case err != nil:
			return interval, err
		}
		if p.take(a) {
			return max(interval-huntStep, 0), nil
		}
		if !rest(ctx, huntStep) {
			return 0, ctx.Err()
		}
	}
}

// begin starts a new series of samples.
func (p *poller) begin() {
	p.series++
	p.last, p.sampled = answer{}, time.Time{}
}

// take looks at an answer, and gives a sample if it is one.
func (p *poller) take(a answer) bool {
	before := p.last
	if before.received.IsZero() || before.discontinuity != a.discontinuity || before.bits != a.bits || restarted(before, a) {
		p.begin()
		a.at = a.sent.Add(a.received.Sub(a.sent) / 2)
		p.last, p.moved = a, a.at
		return false // whether these are fresh, the next one tells
	}
	a.at = before.at.Add(uptimeBetween(before, a))
	if a.at.Before(a.sent) { // the counters were read between question and answer, whatever the router's clock does
		a.at = a.sent
	}
	if a.at.After(a.received) {
		a.at = a.received
	}
	p.last = a
	fresh := a.in != before.in || a.out != before.out
	if fresh {
		p.moved = a.at
	}
	// What moved during a rest did so at a time that we do not know: the hunt goes on.
	edge := fresh && a.at.Sub(before.at) < 2*huntStep+a.received.Sub(a.sent)
	interval := time.Duration(p.spec.Interval)
	if soon := a.at.Sub(p.sampled) < interval-huntStep/2; soon || !edge && a.at.Sub(p.moved) < quiet {
		return false
	}
	p.sampled = a.at
	p.give(Sample{
		At: a.at, Every: max(interval, (interval+quiet)/3+time.Second), // a hunt may take as long as quiet
		In: a.in, Out: a.out, Bits: a.bits, Series: p.series, Speed: a.speed,
	}, nil)
	return true
}

// uptimeBetween is how much later b was than a by the router's clock, which
// tells it to a hundredth of a second and wraps after 497 days.
func uptimeBetween(a, b answer) time.Duration {
	return time.Duration(b.uptime-a.uptime) * 10 * time.Millisecond
}

// restarted says that the router, or what answers for it, began anew: its clock
// went back, and not because it wrapped.
func restarted(before, now answer) bool {
	if now.uptime >= before.uptime {
		return false
	}
	took := now.received.Sub(before.received)
	return (uptimeBetween(before, now) - took).Abs() > took/2+5*time.Second
}

// rest waits. It is false if ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// plain is an error of the library in one short line. What it recovered from
// comes with all stacks.
func plain(err error) string {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err // without our port, which is another each time: what fails the same way is told once
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	if len(text) > 200 {
		text = text[:200] + "..."
	}
	return text
}

// openSNMP opens a socket towards a router. The socket is closed when ctx ends,
// which ends a question that is out.
func openSNMP(ctx context.Context, spec config.SNMP) (router, func(), error) {
	g := &gosnmp.GoSNMP{
		Target: spec.Address.String(), Port: spec.Port, Transport: "udp", MaxOids: gosnmp.MaxOids,
		Timeout: time.Duration(spec.Timeout), Retries: snmpRetries, Context: ctx,
		Version: gosnmp.Version2c, Community: spec.Community,
	}
	if spec.Version == "3" {
		g.Version, g.Community = gosnmp.Version3, ""
		g.SecurityModel = gosnmp.UserSecurityModel
		g.MsgFlags, g.SecurityParameters = userOf(spec)
	}
	if err := g.Connect(); err != nil {
		return nil, nil, err
	}
	socket := g.Conn
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() }) // nothing was written that could be lost
	return g, func() {
		stop()
		_ = socket.Close() // as above; a second time is harmless
	}, nil
}

// The words of the configuration for version 3. With sha256 and sha512 all
// ways to make a long key are the same; with the others, aes256 is made as
// Cisco's devices do (draft-reeder-snmpv3-usm-3desede).
var (
	snmpAuths = map[string]gosnmp.SnmpV3AuthProtocol{"md5": gosnmp.MD5, "sha": gosnmp.SHA, "sha256": gosnmp.SHA256, "sha512": gosnmp.SHA512}
	snmpPrivs = map[string]gosnmp.SnmpV3PrivProtocol{"des": gosnmp.DES, "aes": gosnmp.AES, "aes256": gosnmp.AES256C}
)

// userOf is who we say we are in version 3, and what is asked of answers: that
// they prove and hide themselves as our questions do.
func userOf(spec config.SNMP) (gosnmp.SnmpV3MsgFlags, *gosnmp.UsmSecurityParameters) {
	flags, user := gosnmp.NoAuthNoPriv, &gosnmp.UsmSecurityParameters{
		UserName: spec.User, AuthenticationProtocol: gosnmp.NoAuth, PrivacyProtocol: gosnmp.NoPriv,
	}
	if spec.Auth != "" {
		flags = gosnmp.AuthNoPriv
		user.AuthenticationProtocol, user.AuthenticationPassphrase = snmpAuths[spec.Auth], spec.AuthKey
	}
	if spec.Priv != "" {
		flags = gosnmp.AuthPriv
		user.PrivacyProtocol, user.PrivacyPassphrase = snmpPrivs[spec.Priv], spec.PrivKey
	}
	return flags, user
}
