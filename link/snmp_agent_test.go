package link

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/portolan-lb/portolan/config"
)

// agent is a small SNMP agent on loopback: what it has in its tables, and ways
// to answer wrongly.
type agent struct {
	conn *net.UDPConn
	user *gosnmp.UsmSecurityParameters // version 3; nil: version 2c

	mu     sync.Mutex
	vars   map[string]gosnmp.SnmpPDU
	answer func(request, reply *gosnmp.SnmpPacket) [][]byte // what is sent; nil: the reply
	asked  int
}

const community = "s3cret"

// startAgent runs an agent until the test ends.
func startAgent(t *testing.T, user *gosnmp.UsmSecurityParameters) *agent {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{conn: conn, user: user, vars: map[string]gosnmp.SnmpPDU{}}
	a.set(sysUpTime, gosnmp.TimeTicks, uint32(1000))
	var done sync.WaitGroup
	done.Go(a.serve)
	t.Cleanup(func() { _ = conn.Close(); done.Wait() })
	return a
}

// says has the agent answer otherwise from now on.
func (a *agent) says(answer func(request, reply *gosnmp.SnmpPacket) [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer, a.asked = answer, 0
}

// questions is how many there were since says.
func (a *agent) questions() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func (a *agent) set(name string, kind gosnmp.Asn1BER, value any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.vars[name] = gosnmp.SnmpPDU{Name: name, Type: kind, Value: value}
}

// put makes an interface.
func (a *agent) put(index int, name, descr, alias string) {
	i := strconv.Itoa(index)
	a.set(ifName+i, gosnmp.OctetString, []byte(name))
	a.set(ifDescr+i, gosnmp.OctetString, []byte(descr))
	a.set(ifAlias+i, gosnmp.OctetString, []byte(alias))
	a.set(ifHCInOctets+i, gosnmp.Counter64, uint64(index)<<40)
	a.set(ifHCOutOctets+i, gosnmp.Counter64, uint64(index)<<41)
	a.set(ifInOctets+i, gosnmp.Counter32, uint32(index))
	a.set(ifOutOctets+i, gosnmp.Counter32, uint32(2*index))
	a.set(ifHighSpeed+i, gosnmp.Gauge32, uint32(1000))
	a.set(ifDisconTime+i, gosnmp.TimeTicks, uint32(0))
}

func (a *agent) drop(index int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.vars {
		if strings.HasSuffix(name, "."+strconv.Itoa(index)) {
			delete(a.vars, name)
		}
	}
}

func (a *agent) serve() {
	buf := make([]byte, 65535)
	for {
		n, from, err := a.conn.ReadFromUDP(buf)
		if err != nil {
			return
		}
		for _, reply := range a.reply(bytes.Clone(buf[:n])) {
			_, _ = a.conn.WriteToUDP(reply, from) // a lost reply is one of the things that happen
		}
	}
}

func (a *agent) reply(request []byte) [][]byte {
	g := &gosnmp.GoSNMP{Version: gosnmp.Version2c}
	if a.user != nil {
		g.Version, g.SecurityModel, g.MsgFlags, g.SecurityParameters = gosnmp.Version3, gosnmp.UserSecurityModel, gosnmp.AuthPriv, a.user
	}
	in, err := g.UnmarshalTrap(request, false)
	if err != nil {
		if in, err = g.UnmarshalTrap(request, true); err != nil {
			return nil
		}
	}
	if in.Version == gosnmp.Version2c && in.Community != community {
		return nil
	}
	out := *in
	out.PDUType, out.Error, out.ErrorIndex, out.NonRepeaters, out.MaxRepetitions = gosnmp.GetResponse, 0, 0, 0, 0
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if in.PDUType == gosnmp.GetBulkRequest {
		out.Variables = a.after(in.Variables[0].Name, int(in.MaxRepetitions))
	} else {
		out.Variables = a.get(in.Variables)
	}
	if a.user != nil {
		usm := in.SecurityParameters.(*gosnmp.UsmSecurityParameters)
		if usm.AuthoritativeEngineID == "" { // RFC 3414 4: who asks learns our name first
			out.PDUType, out.MsgFlags = gosnmp.Report, gosnmp.NoAuthNoPriv
			out.Variables = []gosnmp.SnmpPDU{{Name: ".1.3.6.1.6.3.15.1.1.4.0", Type: gosnmp.Counter32, Value: uint32(1)}}
			out.SecurityParameters = &gosnmp.UsmSecurityParameters{AuthoritativeEngineID: a.user.AuthoritativeEngineID, AuthoritativeEngineBoots: 1, AuthoritativeEngineTime: 1,
				AuthenticationProtocol: gosnmp.NoAuth, PrivacyProtocol: gosnmp.NoPriv}
			out.ContextEngineID = a.user.AuthoritativeEngineID
		} else {
			out.MsgFlags &^= gosnmp.Reportable
			usm = usm.Copy().(*gosnmp.UsmSecurityParameters)
			if err := usm.InitPacket(&out); err != nil {
				return nil
			}
			out.SecurityParameters = usm
		}
	}
	if a.answer != nil {
		return a.answer(in, &out)
	}
	return [][]byte{packed(&out)}
}

func packed(p *gosnmp.SnmpPacket) []byte {
	b, err := p.MarshalMsg()
	if err != nil {
		panic(err) // of the test itself
	}
	return b
}

func (a *agent) get(asked []gosnmp.SnmpPDU) (vars []gosnmp.SnmpPDU) {
	for _, q := range asked {
		v, ok := a.vars[q.Name]
		if !ok {
			v = gosnmp.SnmpPDU{Name: q.Name, Type: gosnmp.NoSuchInstance}
		}
		vars = append(vars, v)
	}
	return vars
}

// after gives the next variables in the order of names, as GETBULK does.
func (a *agent) after(name string, most int) (vars []gosnmp.SnmpPDU) {
	var names []string
	for n := range a.vars {
		if slices.Compare(arcs(n), arcs(name)) > 0 {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return slices.Compare(arcs(a), arcs(b)) })
	for _, n := range names[:min(most, len(names))] {
		vars = append(vars, a.vars[n])
	}
	if len(vars) == 0 {
		vars = append(vars, gosnmp.SnmpPDU{Name: name, Type: gosnmp.EndOfMibView})
	}
	return vars
}

func arcs(name string) (list []int) {
	for part := range strings.SplitSeq(strings.TrimPrefix(name, "."), ".") {
		n, _ := strconv.Atoi(part)
		list = append(list, n)
	}
	return list
}

func (a *agent) spec(name string) config.SNMP {
	s := config.SNMP{Address: netip.MustParseAddr("127.0.0.1"), Port: uint16(a.conn.LocalAddr().(*net.UDPAddr).Port),
		Version: "2c", Community: community, Interface: name, Interval: config.Duration(time.Second), Timeout: config.Duration(time.Second)}
	if a.user != nil {
		s.Version, s.Community, s.User, s.Auth, s.AuthKey, s.Priv, s.PrivKey = "3", "", "ann", "sha256", "auth-pass", "aes256", "priv-pass"
	}
	return s
}

// open gives a poller that asks the agent, found its interface or not, and what
// it asks over.
func (a *agent) open(t *testing.T, name string) (*poller, router) {
	t.Helper()
	p := &poller{spec: a.spec(name), give: func(Sample, error) {}}
	r, closeIt, err := openSNMP(t.Context(), p.spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeIt)
	return p, r
}
