package dnsserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// streamRow is what a client writes to a connection, a write each, and what comes
// back before the server ends it.
type streamRow struct {
	rule, name string
	writes     [][]byte
	want       []string // replies by id, in any order
	prompt     bool     // the server ends it at once, not after the idle time
}

func numbered(msg wire, id uint16) wire {
	msg = slices.Clone(msg)
	binary.BigEndian.PutUint16(msg, id)
	return msg
}

func streamRows() (list []streamRow) {
	long := good.opt(1232, 0, 0, "")
	long = good.opt(1232, 0, 0, "000c"+fmt.Sprintf("%04x", 65535-len(long)-4)+strings.Repeat("00", 65535-len(long)-4))
	octets := [][]byte{}
	for _, b := range good.framed() {
		octets = append(octets, []byte{b})
	}
	header := wireHeader(0)
	const rule, frame = "RFC 7766 8, RFC 1035 4.2.2", "RFC 7766 6.2.3: what is never whole ends with the idle time"
	return []streamRow{
		{rule, "a query", [][]byte{good.framed()}, []string{answered}, false},
		{rule, "the length, then the query", [][]byte{good.framed()[:2], good}, []string{answered}, false},
		{rule, "octet by octet", octets, []string{answered}, false},
		{rule, "the longest query", [][]byte{long.framed()}, []string{answered + " opt"}, false},
		{"RFC 7766 6.2.1", "two in one segment", [][]byte{append(numbered(good, 1).framed(), numbered(good, 2).framed()...)},
			[]string{answered, answered}, false},
		{"RFC 7766 6.2.1", "one and a half, then the rest", [][]byte{append(numbered(good, 1).framed(), numbered(good, 2).framed()[:9]...), numbered(good, 2).framed()[9:]},
			[]string{answered, answered}, false},
		{"RFC 7766 6.2.1", "an error, a response and a query", [][]byte{numbered(header, 1).framed(), wireHeader(flagQR).framed(), numbered(good, 2).framed()},
			[]string{"FORMERR 0/0/0", answered}, false},
		{frame, "no length before the query", [][]byte{good.with(0, 0xff)}, nil, false},
		{frame, "a length one too long", [][]byte{append(wire{}.u16(uint16(len(good)+1)), good...)}, nil, false},
		{frame, "a length of all there can be", [][]byte{append(wire{}.u16(65535), good...)}, nil, false},
		{frame, "half a length", [][]byte{{0}}, nil, false},
		{frame, "nothing", nil, nil, false},
		{"RFC 8906 7", "a length four too short", [][]byte{append(wire{}.u16(uint16(len(good)-4)), good...)}, []string{"FORMERR 0/0/0"}, true},
		{"RFC 1035 4.1.1", "a length of 0", [][]byte{append(wire{}.u16(0), good.framed()...)}, nil, true},
		{"RFC 1035 4.1.1", "a length of 11", [][]byte{append(wire{}.u16(11), good...)}, nil, true},
		{"RFC 8906 7", "a length of 12", [][]byte{header.framed()}, []string{"FORMERR 0/0/0"}, false},
	}
}

// TestProtocol_Streams: messages in a stream of octets.
func TestProtocol_Streams(t *testing.T) {
	const idle = 300 * time.Millisecond
	limits := func(l *config.Limits) { l.IdleTimeout = config.Duration(idle) }
	r := run(t, "127.0.0.1:0", limited(protocolTable(t, protocolZone), limits), Options{})
	for _, s := range streamRows() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now() // before the server can see it: its clock is not ahead of ours
			conn := dialed(t, "tcp", r.tcp)
			for _, w := range s.writes {
				if _, err := conn.Write(w); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			ids := map[uint16]bool{}
			read := tcpPeer(t, r).read
			_ = conn.SetReadDeadline(start.Add(patience))
			for {
				msg, err := read(conn)
				if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
					t.Fatalf("the connection is kept open after %v", got)
				}
				if err != nil {
					break
				}
				rep, err := readReply(msg)
				if err != nil || ids[rep.id] {
					t.Fatalf("%v, or a second reply to %v", err, rep)
				}
				ids[rep.id] = true
				got = append(got, rep.String())
			}
			slices.Sort(got)
			if want := slices.Sorted(slices.Values(s.want)); !slices.Equal(got, want) {
				t.Errorf("%s:\n got %q\nwant %q", s.rule, got, want)
			}
			if ended := time.Since(start); s.prompt != (ended < idle) {
				t.Errorf("%s: ended after %v, the idle time is %v", s.rule, ended, idle)
			}
		})
	}
}

// A client that has sent its queries may end its side (RFC 9293 3.6): it still
// wants the answers.
func TestProtocol_HalfClosed(t *testing.T) {
	r := protocolServer(t, protocolZone)
	conn := dialed(t, "tcp", r.tcp).(*net.TCPConn)
	const queries = 20
	var all []byte
	for id := range uint16(queries) {
		all = append(all, numbered(good, id).framed()...)
	}
	if _, err := conn.Write(all); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	answers := 0
	for {
		msg, err := tcpPeer(t, r).read(conn)
		if err != nil {
			break
		}
		if rep, err := readReply(msg); err != nil || rep.String() != answered {
			t.Errorf("%v, %v", rep, err)
		}
		answers++
	}
	if answers != queries {
		t.Errorf("%d answers to %d queries", answers, queries)
	}
}
