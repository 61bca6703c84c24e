package dnsserver

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// protocolRow is one message and what comes back: the facts as [reply.String]
// prints them, "silent", or "closed" where the connection ends without a reply.
type protocolRow struct {
	rule string // what says so
	name string
	msg  wire
	want string
	tcp  string // over TCP, where it is something else
}

// protocolRows is the table: what an authoritative server without recursion,
// signatures and transfers says to each kind of message.
func protocolRows() (rows []protocolRow) {
	for _, part := range [][]protocolRow{
		headerRows(), opcodeRows(), sectionRows(), cutRows(), classRows(), nameRows(), responseRows(),
		ednsRows(), versionRows(), optionRows(), badOPTRows(), transferRows(), signedRows(),
	} {
		rows = append(rows, part...)
	}
	return rows
}

const protocolZone = `$TTL 300
@        SOA ns1 host 1 3600 600 86400 60
@        NS  ns1
@        MX  10 mail
@        TXT "apex"
ns1      A   192.0.2.1
mail     A   192.0.2.25
www      A   192.0.2.80
alias    CNAME www
a.b.ent  A   192.0.2.99
*.wild   A   192.0.2.98
child    NS  ns.child
ns.child A   192.0.2.200
dn       DNAME www
`

// protocolServer serves proto.test on loopback, with everything on that a row
// may ask for.
func protocolServer(t testing.TB, zone string) *running {
	return run(t, "127.0.0.1:0", protocolTable(t, zone), Options{})
}

func protocolTable(t testing.TB, zone string) *Table {
	return newTable(&config.DNS{ECS: true, NSID: "here"}, mustZone(t, "proto.test.", zone, nil))
}

// TestProtocol is the table over real sockets. Every reply must also pass
// [unsound], whatever its row wants.
func TestProtocol(t *testing.T) {
	r := protocolServer(t, protocolZone)
	overUDP, overTCP := udpPeer(t, r), tcpPeer(t, r)
	seen := map[string]bool{}
	for _, row := range protocolRows() {
		if seen[row.name] || row.rule == "" {
			t.Errorf("%q: a name of its own, and a rule, are needed", row.name)
		}
		seen[row.name] = true
		if got := overUDP.ask(row.msg, row.want != "silent"); got != row.want {
			t.Errorf("%s (%s) over UDP:\n got %s\nwant %s", row.name, row.rule, got, row.want)
		}
		want := row.want
		if row.tcp != "" {
			want = row.tcp
		}
		if got := overTCP.ask(row.msg, want != "silent"); got != want {
			t.Errorf("%s (%s) over TCP:\n got %s\nwant %s", row.name, row.rule, got, want)
		}
	}
	if len(seen) < 200 {
		t.Errorf("only %d rows", len(seen))
	}
	r.stop()
	if st := r.Stats(); st.Panics != 0 {
		t.Errorf("%d panics: %s", st.Panics, r.log)
	}
}

// peer asks over one transport.
type peer struct {
	t    testing.TB
	dial func() net.Conn
	send func(conn net.Conn, msg []byte) error
	read func(conn net.Conn) ([]byte, error)
	conn net.Conn
	udp  bool
	id   uint16
	last *reply // that came
}

func udpPeer(t testing.TB, r *running) *peer {
	return &peer{t: t, udp: true,
		dial: func() net.Conn { return dialed(t, "udp", r.udp) },
		send: func(conn net.Conn, msg []byte) error { _, err := conn.Write(msg); return err },
		read: func(conn net.Conn) ([]byte, error) {
			buf := make([]byte, 65535)
			n, err := conn.Read(buf)
			return buf[:n], err
		},
	}
}

func tcpPeer(t testing.TB, r *running) *peer {
	return &peer{t: t,
		dial: func() net.Conn { return dialed(t, "tcp", r.tcp) },
		send: func(conn net.Conn, msg []byte) error { _, err := conn.Write(wire(msg).framed()); return err },
		read: func(conn net.Conn) ([]byte, error) {
			var length [2]byte
			if _, err := io.ReadFull(conn, length[:]); err != nil {
				return nil, err
			}
			msg := make([]byte, binary.BigEndian.Uint16(length[:]))
			_, err := io.ReadFull(conn, msg)
			return msg, err
		},
	}
}

// ask sends a message, and a query behind it, and gives what the message got.
// Over UDP the query's answer comes last. Over TCP answers may come in another
// order (RFC 7766 6.2.1.1), so there it must be known whether to wait for one;
// one that nobody waited for is found by the next to ask, for no id comes twice.
func (p *peer) ask(msg wire, replied bool) string {
	p.t.Helper()
	if p.conn == nil {
		p.conn = p.dial()
	}
	msg, last := slices.Clone(msg), wireQuery("www.proto.test", typeA)
	p.id += 2
	binary.BigEndian.PutUint16(last, p.id+1)
	if len(msg) >= 2 {
		binary.BigEndian.PutUint16(msg, p.id)
	}
	_ = p.conn.SetDeadline(time.Now().Add(patience))
	if p.send(p.conn, msg) != nil || p.send(p.conn, last) != nil {
		p.t.Fatal("the connection is gone")
	}
	var facts []string
	for answered := false; !answered || replied && !p.udp && len(facts) == 0; {
		got, err := p.read(p.conn)
		if err != nil {
			p.conn = nil
			if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
				return "late"
			}
			return "closed"
		}
		switch r, err := readReply(got); {
		case err != nil:
			facts = append(facts, fmt.Sprintf("%v: %x", err, got))
		case r.id == p.id+1:
			answered = true
		case r.id != p.id:
			p.t.Errorf("a reply to an earlier message: %v", r)
		default:
			p.last = r
			facts = append(facts, cmp.Or(unsound(msg, r, p.udp), r.String()))
		}
	}
	return cmp.Or(strings.Join(facts, ", then "), "silent")
}

// unsound says what in a reply to a message no reply may have.
func unsound(msg wire, r *reply, overUDP bool) string {
	size := 512
	if r.opts > 0 {
		size = defaultUDPSize // of what clients take TestProtocol_UDPSize knows
	}
	codes, err := r.options()
	known := []uint16{3, 8, 15} // NSID, subnet, extended error
	if !overUDP {
		known = append(known, 11) // keepalive
	}
	switch {
	case r.flags&flagQR == 0 || r.flags>>11&0xf != uint16(msg[2])>>3&0xf:
		return fmt.Sprintf("RFC 1035 4.1.1: QR and the opcode: %04x", r.flags)
	case r.flags&(flagRA|flagZ|flagAD|flagCD) != 0:
		return fmt.Sprintf("RA: no recursion; Z: RFC 6895 2; AD, CD: RFC 4035 3.1.6: %v", r)
	case overUDP && r.size > size || !overUDP && r.flags&flagTC != 0:
		return fmt.Sprintf("RFC 6891 6.2.5: too large, or truncated over TCP: %d octets, %v", r.size, r)
	case !bytes.HasPrefix(msg[12:], r.question):
		return fmt.Sprintf("the question is not that of the query: %x", r.question)
	case r.opts > 1 || r.opts == 1 && (r.opt.section != 3 || r.opt.owner != "."):
		return "RFC 6891 6.1.1: OPT"
	case r.opts == 1 && (r.opt.class != defaultUDPSize || r.opt.ttl&0xff7fff != 0):
		return fmt.Sprintf("RFC 6891 6.1.3, 6.1.4: size %d, version and flags %x", r.opt.class, r.opt.ttl)
	case err != nil || slices.ContainsFunc(codes, func(c uint16) bool { return !slices.Contains(known, c) }):
		return fmt.Sprintf("RFC 6891 6.1.2: an option that we do not know: %v %v", codes, err)
	case r.rcode() > 15 && r.opts == 0:
		return "an extended rcode without OPT"
	}
	return ""
}
