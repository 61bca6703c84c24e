package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// Func makes one probe of one target. It returns when it knows, and at the
// latest when ctx ends, which is the probe's timeout after its start.
type Func func(ctx context.Context, t *Task) Result

// kind is what the rest of the package has to know about a kind.
type kind struct {
	run   Func
	port  uint16 // where the configuration gives none; 0: there is no usual one
	bare  bool   // knows no ports: its targets are addresses alone
	files int    // descriptors a probe holds at once; 0: one
}

// kinds is every kind there is: one line each.
var kinds = map[string]kind{
	"icmp":          {run: probeICMP, bare: true},
	"tcp":           {run: probeTCP},
	"tcp-half-open": {run: probeHalfOpen, files: 2}, // the raw socket, the port it reserves
	"udp":           {run: probeUDP},
	"http":          {run: probeHTTP, port: 80},
	"https":         {run: probeHTTPS, port: 443},
	"tls":           {run: probeTLS, port: 443},
	"dns":           {run: probeDNS, port: 53},
	"exec":          {run: probeExec, files: 2}, // its output, its process
}

// Kinds lists the kinds that can be run, in alphabetical order.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// Task is one probe to be made: where to, and how.
type Task struct {
	Target netip.AddrPort // port 0: none
	Pin    Pin            // the link it goes by
	Probe  *config.Probe

	Transport Transport // of kind dns

	control  func(syscall.RawConn) error       // Options.Control, called besides Pin's; may be nil
	readFile func(name string) ([]byte, error) // reads caFile
}

// Outcome is what one probe says about its target.
type Outcome uint8

// The outcomes. Void is for what is our own fault (a missing capability, no
// free descriptors, a panic): it says nothing about the target, so health and
// counts stay as they are.
const (
	Pass Outcome = iota
	Fail
	Void
)

var outcomeNames = [...]string{"pass", "fail", "void"}

func (o Outcome) String() string { return outcomeNames[o] }

// MarshalText writes pass, fail or void.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (o *Outcome) UnmarshalText(b []byte) error {
	i := slices.Index(outcomeNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("%q is no outcome of a probe", b)
	}
	*o = Outcome(i)
	return nil
}

// Result is the outcome of one probe and the evidence, in one sentence.
type Result struct {
	Outcome Outcome
	Saw     string
}

func (t *Task) pass(format string, args ...any) Result {
	return Result{Pass, fmt.Sprintf(format, args...)}
}

func (t *Task) fail(format string, args ...any) Result {
	return Result{Fail, fmt.Sprintf(format, args...)}
}

func (t *Task) void(format string, args ...any) Result {
	return Result{Void, fmt.Sprintf(format, args...)}
}

// silent is the result for a target that did not answer in time.
func (t *Task) silent() Result {
	return t.fail("no reply within %s", time.Duration(t.Probe.Timeout))
}

// voidError is an error that is our own fault and not the target's.
type voidError string

func (e voidError) Error() string { return string(e) }

// failed finds the outcome and the words for an error of the network.
func (t *Task) failed(err error) Result {
	var own voidError
	why, tls := tlsTrouble(err)
	switch {
	case tls:
		return t.fail("%s", why)
	case errors.As(err, &own):
		return t.void("%s", own)
	case isTimeout(err):
		return t.silent()
	case errors.Is(err, syscall.EADDRNOTAVAIL) && t.Pin.Source.IsValid():
		// A link whose address is gone is no link, so this is not void.
		return t.fail("source %s is not an address of this machine", t.Pin.Source)
	case isOurs(err):
		return t.void("cannot probe: %s", plain(err))
	default:
		return t.fail("%s", plain(err))
	}
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// isOurs says whether this machine lacks something a probe needs.
func isOurs(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// plain takes the wrapping off a system error: "connection refused" instead of
// "dial tcp 10.0.0.7:80: connect: connection refused".
func plain(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "connection closed before a reply"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}

// dial opens a socket to the target, bound to the task's source address and
// link. What is done with it fails when ctx ends. The caller calls hangUp in
// the end. Networks: tcp, udp, icmp and raw-tcp (segments with their TCP
// header).
func (t *Task) dial(ctx context.Context, network string) (conn net.Conn, hangUp func(), err error) {
	if t.Pin.Source.IsValid() && t.Pin.Source.Is4() != t.Target.Addr().Is4() {
		return nil, nil, voidError(fmt.Sprintf("source %s and target %s are of different families", t.Pin.Source, t.Target.Addr()))
	}
	if t.Target.Port() == 0 && network != "icmp" {
		return nil, nil, voidError(fmt.Sprintf("a %s probe of %s needs a port", t.Probe.Kind, t.Target.Addr()))
	}
	d := net.Dialer{
		KeepAlive: -1,
		LocalAddr: t.local(network),
		Control:   func(_, _ string, c syscall.RawConn) error { return t.pin(c) },
	}
	network, address := t.address(network)
	conn, err = d.DialContext(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	return conn, bound(ctx, conn), nil
}

// pin ties a new socket to the task's link.
func (t *Task) pin(c syscall.RawConn) error {
	if err := t.Pin.Control(c); err != nil {
		return err
	}
	if t.control == nil {
		return nil
	}
	return t.control(c)
}

// bound ends reads and writes on conn when ctx ends, be it by the timeout or
// because the check is stopped. It returns what closes conn.
func bound(ctx context.Context, conn net.Conn) (hangUp func()) {
	stop := context.AfterFunc(ctx, func() {
		// An error means that conn is closed, which is as good.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	return func() {
		stop()
		conn.Close() // the result stands; nothing is left to be lost
	}
}

// address gives the target in the words of package net.
func (t *Task) address(network string) (string, string) {
	v4 := t.Target.Addr().Is4()
	switch {
	case network == "icmp" && v4:
		return "ip4:icmp", t.Target.Addr().String()
	case network == "icmp":
		return "ip6:ipv6-icmp", t.Target.Addr().String()
	case network == "raw-tcp" && v4:
		return "ip4:tcp", t.Target.Addr().String()
	case network == "raw-tcp":
		return "ip6:tcp", t.Target.Addr().String()
	default:
		return network, t.Target.String()
	}
}

// local gives the source address as the type that the network wants.
func (t *Task) local(network string) net.Addr {
	switch {
	case !t.Pin.Source.IsValid():
		return nil
	case network == "tcp":
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.Pin.Source, 0))
	case network == "udp":
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.Pin.Source, 0))
	default:
		return &net.IPAddr{IP: t.Pin.Source.AsSlice(), Zone: t.Pin.Source.Zone()}
	}
}

// took prints a duration as evidence does: "3 ms", "0.4 ms", "1.204 s".
func took(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	case ms < 1000:
		return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
	default:
		return strconv.FormatFloat(ms/1000, 'f', 3, 64) + " s"
	}
}

// maxSaw bounds a sentence of evidence, in bytes.
const maxSaw = 300

// clean makes evidence safe to print: what a server sent may hold anything.
func clean(s string) string {
	if len(s) > maxSaw {
		s = s[:maxSaw] + "..."
	}
	s = strings.ToValidUTF8(s, "?")
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
