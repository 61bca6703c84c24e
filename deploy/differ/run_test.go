package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/deploy/peers"
)

// speak makes a server of a function: what it gives is sent, nothing if it
// gives nothing. It stands in for servers that are not installed.
func speak(t *testing.T, answer func(msg []byte, tcp bool) []byte) netip.AddrPort {
	t.Helper()
	addr, err := peers.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	go func() { serveUDP(udp, answer); done <- struct{}{} }()
	go func() { serveTCP(tcp, answer); done <- struct{}{} }()
	t.Cleanup(func() { udp.Close(); tcp.Close(); <-done; <-done })
	return addr
}

func serveUDP(conn *net.UDPConn, answer func([]byte, bool) []byte) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if out := answer(buf[:n], false); out != nil {
			_, _ = conn.WriteToUDPAddrPort(out, from)
		}
	}
}

// serveTCP takes one query a connection and closes it, so that the client has
// to come again.
func serveTCP(l *net.TCPListener, answer func([]byte, bool) []byte) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		size := make([]byte, 2)
		if _, err := io.ReadFull(conn, size); err == nil {
			msg := make([]byte, binary.BigEndian.Uint16(size))
			if _, err := io.ReadFull(conn, msg); err == nil {
				out := answer(msg, true)
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
		}
		_ = conn.Close()
	}
}

// says makes a reply with flags and an A record, or none.
func says(msg []byte, flags uint16, address string) []byte {
	out := bytes.Clone(msg)
	binary.BigEndian.PutUint16(out[2:], flagQR|flags)
	if address != "" {
		out[7] = 1
		out = append(out, 0xc0, headerSize, 0, typeA, 0, classIN, 0, 0, 0, 60, 0, 4)
		out = append(out, address...)
	}
	return out
}

// runBoth puts one query to two servers, of which the first is ours, and gives
// what is counted and printed.
func runBoth(t *testing.T, ours, theirs netip.AddrPort) (*tally, string) {
	t.Helper()
	w := example()
	z := w.byAt[parseName("example.")]
	both := []*server{
		{Server: peers.Server{Name: "portolan", Addr: ours}, zones: map[*zone]bool{z: true}},
		{Server: peers.Server{Name: "other", Addr: theirs}, zones: map[*zone]bool{z: true}},
	}
	var out strings.Builder
	tally := newTally(&options{show: 5}, both)
	tally.out = &out
	e := &examiner{world: w, servers: both, tally: tally, callers: []*caller{{server: ours}, {server: theirs}}}
	defer e.close()
	if err := e.examine(&query{name: parseName("www.example."), rtype: typeA, class: classIN}); err != nil {
		t.Fatal(err)
	}
	err := tally.report(&out)
	if failed := tally.strange["other"] > 0 || tally.faults > 0; (err != nil) != failed {
		t.Errorf("the run says %v", err)
	}
	return tally, out.String()
}

func truth(t *testing.T) string {
	s := scene{world: example(), t: t}
	return s.set("www.example.", typeA)[0].data
}

// A difference without a class fails the run and is told whole; none does not.
func TestRunTellsOfDifferences(t *testing.T) {
	right := truth(t)
	good := speak(t, func(msg []byte, tcp bool) []byte { return says(msg, flagAA, right) })
	if tally, text := runBoth(t, good, good); tally.equal["other"] != 1 || strings.Contains(text, "UNEXPLAINED") {
		t.Errorf("the same server twice: %s", text)
	}
	other := speak(t, func(msg []byte, tcp bool) []byte { return says(msg, flagAA, "\xc0\x00\x02\xff") })
	_, text := runBoth(t, good, other)
	for _, want := range []string{"UNEXPLAINED (answer)", "www.example. A", "192.0.2.255", "| unexplained | 1 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in:\n%s", want, text)
		}
	}
	if tally, text := runBoth(t, other, good); tally.faults != 1 || !strings.Contains(text, "FAULT: a record of no zone") {
		t.Errorf("a false record of ours: %s", text)
	}
}

// What is truncated is asked again by TCP: there it may be equal, or not.
func TestRunAsksAgainByTCP(t *testing.T) {
	right := truth(t)
	good := speak(t, func(msg []byte, tcp bool) []byte { return says(msg, flagAA, right) })
	var asked atomic.Int32
	short := func(address string) func(msg []byte, tcp bool) []byte {
		return func(msg []byte, tcp bool) []byte {
			if tcp {
				asked.Add(1)
				return says(msg, flagAA, address)
			}
			return says(msg, flagAA|flagTC, "")
		}
	}
	tally, text := runBoth(t, good, speak(t, short(right)))
	if asked.Load() == 0 || !strings.Contains(text, "UNEXPLAINED (tc)") || tally.strange["other"] != 1 {
		t.Errorf("truncated without need: %d asked by TCP, %s", asked.Load(), text)
	}
	if _, text := runBoth(t, good, speak(t, short("\xc0\x00\x02\xff"))); !strings.Contains(text, "answer") {
		t.Errorf("another answer by TCP: %s", text)
	}
}

// A server that stays silent is asked twice.
func TestRunHearsSilence(t *testing.T) {
	t.Parallel() // it waits for what does not come
	right := truth(t)
	good := speak(t, func(msg []byte, tcp bool) []byte { return says(msg, flagAA, right) })
	var asked atomic.Int32
	lost := speak(t, func(msg []byte, tcp bool) []byte {
		if asked.Add(1) == 1 {
			return nil
		}
		return says(msg, flagAA, right)
	})
	began := time.Now()
	tally, text := runBoth(t, good, lost)
	if tally.equal["other"] != 1 || asked.Load() != 2 || time.Since(began) < firstPatience {
		t.Errorf("one lost query: asked %d times, %s", asked.Load(), text)
	}
	mute := speak(t, func([]byte, bool) []byte { return nil })
	if _, text := runBoth(t, good, mute); !strings.Contains(text, "UNEXPLAINED (silence)") {
		t.Errorf("silence: %s", text)
	}
	if _, text := runBoth(t, mute, good); !strings.Contains(text, "FAULT: no reply") {
		t.Errorf("our silence: %s", text)
	}
}

// A server that is not installed is skipped, and said to be.
func TestNotInstalledIsSkipped(t *testing.T) {
	var told []string
	c := contender{name: "nobody", program: "no-such-server-program"}
	s, err := launch(t.Context(), &c, generate(1), t.TempDir(), func(format string, args ...any) { told = append(told, format) })
	if s != nil || err != nil || len(told) != 1 || !strings.Contains(told[0], "skipped") {
		t.Errorf("got %v, %v, told %q", s, err, told)
	}
}

// A chain that a server leaves to its client is finished by asking it for the
// rest, and is then equal to one that is whole.
func TestFinishesChains(t *testing.T) {
	w := example()
	z := w.byAt[parseName("example.")]
	b := &builder{zone: z}
	alias := record{owner: b.at("go"), rtype: typeCNAME, class: classIN, ttl: 60, data: string(b.at("www"))}
	q := &query{name: b.at("go"), rtype: typeA, class: classIN}
	s := scene{w, t, q}
	whole := s.reply(flagAA, 0, with(0, []record{alias}, s.set("www.example.", typeA)))
	h := s.reply(flagAA, 0, with(0, []record{alias}))
	addr := speak(t, func(msg []byte, tcp bool) []byte { return says(msg, flagAA, s.set("www.example.", typeA)[0].data) })
	c := &caller{server: addr}
	defer c.close()
	if err := h.finish(c, q, w, map[*zone]bool{}); err != nil || h.steps != 0 {
		t.Errorf("a zone that it does not have was asked for: %d steps, %v", h.steps, err)
	}
	h.finished = false
	if err := h.finish(c, q, w, map[*zone]bool{z: true}); err != nil || h.steps != 1 {
		t.Fatalf("%d steps, %v", h.steps, err)
	}
	if last := h.whole.chain(q); len(last) != 2 || last[1] != b.at("www") || len(h.whole.sections[answerSection]) != 2 {
		t.Errorf("it ends as %s", h.whole.text(q))
	}
	if next, open := whole.whole.openEnd(q, w); open {
		t.Errorf("a whole chain is open at %s", next)
	}
}
