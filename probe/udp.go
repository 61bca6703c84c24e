package probe

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"
)

// probeUDP sends one datagram, empty if there is no payload. With an expected
// text a reply that holds it passes. Without one anything but an ICMP error
// passes, and silence does too: it proves nothing, and the evidence says so;
// pair such a probe with another kind (semantics B.9).
func probeUDP(ctx context.Context, t *Task) Result {
	start := time.Now()
	conn, hangUp, err := t.dial(ctx, "udp")
	if err != nil {
		return t.failed(err)
	}
	defer hangUp()
	if _, err := conn.Write(unescape(t.Probe.Send)); err != nil {
		return t.failed(err)
	}
	want := []byte(t.Probe.Expect)
	var got []byte
	for buf := make([]byte, maxRead); ; {
		n, err := conn.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return t.udpSilence(got)
		case err != nil:
			return t.failed(err)
		case bytes.Contains(buf[:n], want):
			return t.pass("reply of %d bytes in %s", n, took(time.Since(start)))
		}
		// A late reply to an earlier probe may come first: wait for ours.
		got = append(got[:0], excerpt(buf[:n])...)
	}
}

func (t *Task) udpSilence(got []byte) Result {
	switch {
	case t.Probe.Expect == "":
		return t.pass("no ICMP error within %s; silence proves nothing", time.Duration(t.Probe.Timeout))
	case got != nil:
		return t.fail("expected %q, got %q", t.Probe.Expect, got)
	default:
		return t.silent()
	}
}
