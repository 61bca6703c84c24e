package dnsproxy

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

const (
	maxStrays  = 64                    // answers to nobody's question within one exchange; then it goes on over TCP
	errorGrace = 50 * time.Millisecond // that a server which understands nothing has to be contradicted in
	padding    = 128                   // octets that encrypted queries are a multiple of (RFC 8467 4.1)
)

// failure is why a server did not answer.
type failure int

// Failures.
const (
	failTimeout  failure = iota // no answer in time
	failNetwork                 // no way, refused, closed
	failServfail                // SERVFAIL
	failRefused                 // REFUSED, or NOTAUTH
	failFormat                  // FORMERR or NOTIMP, also without EDNS
	failNoWay                   // its link has no way now, or it has no address
	failures     = int(iota)
)

var failureNames = [failures]string{"timeout", "network", "servfail", "refused", "formerr", "no-way"}

func (f failure) String() string { return failureNames[f] }

// exchangeError is a failed exchange. answer is set where the server did answer,
// with an error.
type exchangeError struct {
	failure failure
	cause   error
	answer  *answer
}

func (e *exchangeError) Error() string {
	if e.cause == nil {
		return e.failure.String()
	}
	return fmt.Sprintf("%s: %v", e.failure, e.cause)
}

func (e *exchangeError) Unwrap() error { return e.cause }

// budget counts what may still be asked for one query of a client.
type budget struct{ left int }

// take says whether another query may go out, and counts it.
func (b *budget) take() bool {
	b.left--
	return b.left >= 0
}

// asker exchanges messages with servers. It is shared by all queries.
type asker struct {
	wg   *sync.WaitGroup // counts readers of connections
	stop chan struct{}   // closed when all connections are to end
}

// exchange is one question put to one server over one link.
type exchange struct {
	asker    *asker
	server   *server
	way      way
	a        *asking
	deadline time.Time
	budget   *budget
	edns     bool
	tcp      bool // it has been tried
}

// ask puts a question to a server and waits for the answer until the deadline.
// What the answer costs beyond one query comes out of the budget, but for the
// TCP query that a truncated answer calls for.
func (k *asker) ask(s *server, w way, a *asking, deadline time.Time, b *budget) (*answer, *exchangeError) {
	x := &exchange{asker: k, server: s, way: w, a: a, deadline: deadline, budget: b, edns: s.edns(time.Now())}
	fellBack := false
	for {
		began := time.Now()
		ans, err := x.once()
		if err == nil {
			s.stats.answered(time.Since(began))
			if fellBack {
				s.plain.Store(time.Now().Add(ednsAgain).Unix())
			}
			return ans, nil
		}
		switch {
		case err.failure == failFormat && x.edns && !errors.Is(err.cause, errBadCookie) && b.take():
			x.edns, x.tcp, fellBack = false, false, true // RFC 6891 6.2.2
			s.stats.withoutEDNS.Add(1)
			continue
		case err.failure == failFormat && errors.Is(err.cause, errBadCookie) && b.take():
			continue // with the cookie that it gave us
		}
		s.stats.failed[err.failure].Add(1)
		return nil, err
	}
}

var errBadCookie = errors.New("BADCOOKIE")

// once sends one query.
func (x *exchange) once() (*answer, *exchangeError) {
	if x.server.protocol == config.DNSOverUDP {
		return x.overUDP()
	}
	x.server.stats.queries.Add(1)
	return x.overStream()
}

// overUDP sends one query over UDP and waits for its answer. What does not match
// is thrown away, and the wait goes on: who sends a wrong answer first must not
// keep the right one away.
func (x *exchange) overUDP() (*answer, *exchangeError) {
	x.server.stats.queries.Add(1)
	conn, err := x.server.socket(x.way, time.Now())
	if err != nil {
		return nil, &exchangeError{failure: failNetwork, cause: err}
	}
	clean := false
	defer func() { x.server.giveBack(x.way, conn, clean) }()
	buf := buffers.Get().(*[maxUDPAnswer + 1]byte)
	defer buffers.Put(buf)
	query, s := x.a.appendQuery(make([]byte, 0, 2*plainSize), x.server.letters(), x.edns, x.cookie(), 0)
	_ = conn.SetDeadline(x.deadline)
	if _, err := conn.Write(query); err != nil {
		return nil, &exchangeError{failure: failNetwork, cause: err}
	}
	w := &udpWait{x: x, sent: s}
	for {
		n, err := conn.Read(buf[:])
		if err != nil && n == 0 && !isEmpty(err) {
			return w.ended(err)
		}
		if ans, fail, done := w.judge(buf[:n]); done {
			clean = w.strays == 0 && w.held == nil && !x.tcp
			return ans, fail
		}
		if !w.until.IsZero() {
			_ = conn.SetReadDeadline(w.until)
		}
	}
}

// isEmpty tells a datagram of no octets, which reads like the end of a file.
func isEmpty(err error) bool { return err.Error() == "EOF" }

var buffers = sync.Pool{New: func() any { return new([maxUDPAnswer + 1]byte) }}

// udpWait is the wait for one answer over UDP.
type udpWait struct {
	x       *exchange
	sent    sent
	strays  int
	mangled bool           // answers in other letters were seen
	held    *exchangeError // an error that counts if nothing better comes
	until   time.Time      // when it counts; zero: at the deadline
}

// judge looks at one datagram. done ends the wait.
func (w *udpWait) judge(msg []byte) (ans *answer, fail *exchangeError, done bool) {
	stats := &w.x.server.stats
	if err := plausible(msg, maxUDPAnswer); err != nil {
		stats.oversized.Add(1)
		return w.stray()
	}
	m := w.sent.matches(msg)
	folds := w.x.server.letters() == lowerLetters
	switch {
	case m == stray:
		stats.strays.Add(1)
		return w.stray()
	case m == headless:
		// Too little to go by; it counts if nothing else comes in time.
		w.hold(msg, time.Time{})
		return nil, nil, false
	case m == otherCase && !folds:
		stats.mangled.Add(1)
		w.mangled = true
		if w.x.server.spelling.Load() == spellingUnknown {
			return w.byTCP()
		}
		return w.stray()
	}
	if !folds {
		w.x.server.echoed()
	}
	if msg[2]&(flagTC>>8) != 0 {
		stats.truncated.Add(1)
		return w.byTCP()
	}
	ans, fail = w.x.accept(msg)
	switch {
	case fail == nil:
		return ans, nil, true
	case fail.failure == failFormat && fail.answer == nil: // what cannot be read is no answer
		stats.malformed.Add(1)
		return w.stray()
	case fail.failure == failFormat && !errors.Is(fail.cause, errBadCookie):
		w.held = fail
		if w.x.edns {
			w.until = time.Now().Add(errorGrace)
		}
		return nil, nil, false
	}
	return nil, fail, true
}

// stray counts what is thrown away. A flood of it is somebody guessing: TCP
// takes that away from him.
func (w *udpWait) stray() (*answer, *exchangeError, bool) {
	w.strays++
	if w.strays == maxStrays {
		w.x.server.stats.floods.Add(1)
		return w.byTCP()
	}
	return nil, nil, w.strays > 16*maxStrays // bounded work, whatever comes
}

// byTCP asks the same server over TCP, once. If that fails the wait goes on.
func (w *udpWait) byTCP() (*answer, *exchangeError, bool) {
	x := w.x
	if x.tcp {
		return nil, nil, false
	}
	x.tcp = true
	x.server.stats.streams.Add(1)
	ans, fail := x.overStream()
	if fail == nil {
		return ans, nil, true
	}
	if w.mangled && x.server.spelling.Load() == spellingUnknown {
		x.server.missed()
	}
	w.held = fail
	return nil, nil, false
}

// hold notes an error without a question.
func (w *udpWait) hold(msg []byte, until time.Time) {
	w.x.server.stats.strays.Add(1)
	rcode := int(msg[3] & rcodeMask)
	if w.held == nil && (rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented) {
		w.held, w.until = &exchangeError{failure: failFormat, cause: errors.New(dns.RcodeToString[rcode])}, until
	}
}

// ended says how a wait ended that brought no answer.
func (w *udpWait) ended(err error) (*answer, *exchangeError) {
	switch {
	case w.held != nil:
		return nil, w.held
	case w.mangled && w.x.server.spelling.Load() == spellingEchoes:
		w.x.server.missed()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		return nil, &exchangeError{failure: failTimeout}
	}
	return nil, &exchangeError{failure: failNetwork, cause: bare(err)}
}

// bare gives the kernel's word for an error.
func bare(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// cookie is what is sent of a cookie: over UDP alone, where it proves something.
func (x *exchange) cookie() []byte {
	if x.server.protocol != config.DNSOverUDP || !x.edns {
		return nil
	}
	return x.server.cookieFor()
}

// accept judges an answer that matches: rebuilt, or what it says is wrong.
func (x *exchange) accept(msg []byte) (*answer, *exchangeError) {
	ans, err := rebuild(msg, x.a)
	if err != nil {
		return nil, &exchangeError{failure: failFormat, cause: err}
	}
	if !x.server.learnCookie(ans.cookie) {
		x.server.stats.cookies.Add(1)
		return nil, &exchangeError{failure: failFormat, cause: errors.New("a cookie that is not ours")}
	}
	fail := func(f failure) (*answer, *exchangeError) {
		return nil, &exchangeError{failure: f, cause: errors.New(rcodeText(ans.rcode)), answer: ans}
	}
	switch ans.rcode {
	case dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeYXDomain:
		return ans, nil
	case dns.RcodeServerFailure:
		return fail(failServfail)
	case dns.RcodeRefused, dns.RcodeNotAuth:
		return fail(failRefused)
	case dns.RcodeBadCookie:
		return nil, &exchangeError{failure: failFormat, cause: errBadCookie, answer: ans}
	}
	return fail(failFormat)
}

func rcodeText(rcode int) string {
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("RCODE%d", rcode)
}

// overStream asks over TCP, TLS or HTTPS.
func (x *exchange) overStream() (*answer, *exchangeError) {
	ctx, cancel := context.WithDeadline(context.Background(), x.deadline)
	defer cancel()
	pad := 0
	if x.server.encrypted() {
		pad = padding
	}
	spell := lowerLetters
	if x.server.protocol == config.DNSOverUDP { // also to learn how the server spells
		spell = x.server.letters()
	}
	query, s := x.a.appendQuery(make([]byte, 0, 2*plainSize), spell, x.edns, nil, pad)
	msg, err := x.roundTrip(ctx, query, s)
	if err != nil {
		f := failNetwork
		if ctx.Err() != nil {
			f = failTimeout
		}
		return nil, &exchangeError{failure: f, cause: err}
	}
	if s.id = binary.BigEndian.Uint16(msg); spell == randomLetters {
		x.spelled(s.matches(msg))
	}
	if len(msg) == headerSize {
		return nil, &exchangeError{failure: failFormat, cause: errors.New(rcodeText(int(msg[3] & rcodeMask)))}
	}
	return x.accept(msg)
}

// spelled learns from an answer that nobody forged.
func (x *exchange) spelled(m match) {
	switch {
	case m == exact:
		x.server.echoed()
	case m == otherCase && x.server.spelling.CompareAndSwap(spellingUnknown, spellingFolds):
		x.server.misses.Store(0)
	}
}

func (x *exchange) roundTrip(ctx context.Context, query []byte, s sent) ([]byte, error) {
	if x.server.protocol == config.DNSOverHTTPS {
		query[0], query[1], s.id = 0, 0, 0 // RFC 8484 4.1
		return x.https().ask(ctx, query, s)
	}
	msg, dup, err := x.streams().ask(ctx, query, s)
	if dup {
		x.server.stats.again.Add(1)
	}
	return msg, err
}

// streams gives the server's connections over the link.
func (x *exchange) streams() *streams {
	l := x.server.learnt
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.streams[x.way]
	if p == nil {
		if len(l.streams) >= maxWays {
			clear(l.streams) // the old ones end by themselves when idle
		}
		w, secure := x.way, x.server.protocol == config.DNSOverTLS
		conf := x.asker.tlsConfig(x.server, w)
		p = &streams{wg: x.asker.wg, stop: x.asker.stop, dial: func(ctx context.Context) (net.Conn, error) {
			if secure {
				return dialTLS(ctx, w, conf)
			}
			return dialTCP(ctx, w)
		}}
		l.streams[x.way] = p
	}
	return p
}

// maxWays is how many ways to a server are remembered. A link's address changes
// now and then, for ever.
const maxWays = 16

func (x *exchange) https() *httpsClient {
	l := x.server.learnt
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.https[x.way]
	if c == nil {
		if len(l.https) >= maxWays {
			l.closeHTTPS()
		}
		conf := x.asker.tlsConfig(x.server, x.way)
		host := net.JoinHostPort(conf.ServerName, fmt.Sprint(x.way.to.Port()))
		c = newHTTPS(x.way, host, x.server.path, conf)
		l.https[x.way] = c
	}
	return c
}

func (l *learnt) closeHTTPS() {
	for w, c := range l.https {
		c.transport.CloseIdleConnections()
		delete(l.https, w)
	}
}

func (k *asker) tlsConfig(s *server, w way) *tls.Config {
	name := s.tlsName
	if name == "" {
		name = w.to.Addr().WithZone("").String()
	}
	return &tls.Config{ServerName: name, RootCAs: s.roots, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
}
