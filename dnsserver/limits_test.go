package dnsserver

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// Every key of dns.limits has a metric of its name, a row in the manual with
// its default, and a test in limitTests that reaches it.
func TestLimits(t *testing.T) {
	manual, err := os.ReadFile("../docs/manual/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	defaults, tests := config.DefaultLimits(), limitTests()
	names := 0
	for name, value := range defaults.All() {
		names++
		if c, ok := New(Options{}).Stats().Limits[name]; !ok || c.Value != value || c.Reached != 0 {
			t.Errorf("%s: the metric says %+v, want %v", name, c, value)
		}
		if row := manualRow(string(manual), name); row == "" {
			t.Errorf("%s: docs/manual/limits.md has no row that begins | `%s` |", name, name)
		} else if !strings.Contains(row, "| "+inManual(&defaults, name)+" |") {
			t.Errorf("%s: the manual does not give the default %s: %s", name, inManual(&defaults, name), row)
		}
		test := tests[name]
		if test == nil {
			t.Errorf("%s: no test reaches it", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := test(t)
			for other, c := range s.Stats().Limits {
				if (c.Reached > 0) != (other == name) {
					t.Errorf("%s was reached %d times", other, c.Reached)
				}
			}
		})
	}
	if names != int(limits) || names != len(tests) {
		t.Errorf("%d keys, %d counters, %d tests", names, limits, len(tests))
	}
}

func manualRow(manual, name string) string {
	for line := range strings.Lines(manual) {
		if strings.HasPrefix(line, "| `"+name+"` |") {
			return line
		}
	}
	return ""
}

// inManual gives a default as an operator writes it.
func inManual(l *config.Limits, name string) string {
	switch name {
	case "connectionTime":
		return l.ConnectionTime.String()
	case "idleTimeout":
		return l.IdleTimeout.String()
	case "writeTimeout":
		return l.WriteTimeout.String()
	case "connectionBuffer":
		return l.ConnectionBuffer.String()
	case "udpBuffer":
		return l.UDPBuffer.String()
	case "zone.fileSize":
		return l.Zone.FileSize.String()
	case "zone.entrySize":
		return l.Zone.EntrySize.String()
	case "zone.setSize":
		return l.Zone.SetSize.String()
	}
	for other, n := range l.All() {
		if other == name {
			return strconv.Itoa(int(n))
		}
	}
	return "nothing"
}

// limitTests gives for each limit what reaches it, and it alone: the server
// that counted it.
func limitTests() map[string]func(*testing.T) *Server {
	return map[string]func(*testing.T) *Server{
		"connections": func(t *testing.T) *Server { return manyConnections(t, func(l *config.Limits) { l.Connections = 3 }) },
		"connectionsPerClient": func(t *testing.T) *Server {
			return manyConnections(t, func(l *config.Limits) { l.ConnectionsPerClient = 3 })
		},
		"queriesPerConnection": func(t *testing.T) *Server {
			return streamed(t, func(l *config.Limits) { l.QueriesPerConnection = 1 }, func(p *piped) { p.ask("slow"); p.hear() })
		},
		"connectionQueries": func(t *testing.T) *Server {
			return streamed(t, func(l *config.Limits) { l.ConnectionQueries = 1 }, func(p *piped) { p.ask("ns"); p.hear() })
		},
		"connectionTime": func(t *testing.T) *Server {
			return streamed(t, func(l *config.Limits) { l.ConnectionTime = config.Duration(time.Second / 2) }, func(p *piped) { p.hear() })
		},
		"idleTimeout": func(t *testing.T) *Server {
			return streamed(t, func(l *config.Limits) { l.IdleTimeout = config.Duration(time.Second / 2) }, func(p *piped) { p.hear() })
		},
		"writeTimeout": func(t *testing.T) *Server {
			return streamed(t, func(l *config.Limits) { l.WriteTimeout = config.Duration(time.Second) }, func(p *piped) { p.ask("ns"); p.done.Wait() })
		},
		"connectionBuffer": func(t *testing.T) *Server {
			set := func(l *config.Limits) { l.ConnectionBuffer = 4 << 10 }
			var server *Server
			for range 20 { // a second lane has to come to it, and the scheduler may leave it out
				server = streamed(t, set, func(p *piped) {
					go p.ask(slices.Repeat([]string{"ns"}, 200)...)
					time.Sleep(time.Second)
					p.hear()
				})
				if server.reached[limitConnectionBuffer].Load() > 0 {
					break
				}
			}
			return server
		},
		"udpBuffer": smallBuffer,
		"cnameChain": func(t *testing.T) *Server {
			return bringing(t, "c0", dns.TypeA, func(l *config.Limits) { l.CNAMEChain = 2 }, 2, 0)
		},
		"additionalNames": func(t *testing.T) *Server {
			return bringing(t, "mx", dns.TypeMX, func(l *config.Limits) { l.AdditionalNames = 2 }, 4, 2)
		},
		"additionalRecords": func(t *testing.T) *Server {
			return bringing(t, "mx", dns.TypeMX, func(l *config.Limits) { l.AdditionalRecords = 3 }, 4, 3)
		},
		"referralGlue": func(t *testing.T) *Server {
			return bringing(t, "www.sub", dns.TypeA, func(l *config.Limits) { l.ReferralGlue = 2 }, 0, 2+2)
		},
		"zones":                 tooManyZones,
		"zone.records":          zoneLimit("records: 3", "", "a A 192.0.2.1\nb A 192.0.2.1\n"),
		"zone.fileSize":         zoneLimit("fileSize: 1KiB", "", strings.Repeat("; nothing\n", 200)),
		"zone.entrySize":        zoneLimit("entrySize: 1KiB", "", "a TXT (\n"+strings.Repeat("; nothing\n", 200)+" x )\n"),
		"zone.setSize":          zoneLimit("setSize: 512B", "", strings.Repeat("x", 10)+" TXT "+strings.Repeat("\""+strings.Repeat("y", 200)+"\" ", 3)+"\n"),
		"zone.includes":         zoneLimit("includes: 2", "", "$INCLUDE more\n$INCLUDE more\n"),
		"zone.includeDepth":     zoneLimit("includeDepth: 1", "", "$INCLUDE more\n"),
		"zone.generatedRecords": zoneLimit("generatedRecords: 5", "", "$GENERATE 1-6 h$ A 192.0.2.$\n"),
		"zone.nameServers":      zoneLimit("nameServers: 2", "warning", "sub NS ns1.example.net.\nsub NS ns2.example.net.\nsub NS ns3.example.net.\n"),
	}
}

// manyConnections opens five of one client.
func manyConnections(t *testing.T, set func(*config.Limits)) *Server {
	s := New(Options{})
	s.Use(limited(answerTable(t), set))
	p, opened := &pipes{t, &s.conns, *s.limits()}, 0
	for i := range 5 {
		if p.open(fmt.Sprintf("192.0.2.1:%d", 1000+i)) != nil {
			opened++
		}
	}
	if s.conns.count() != 3 {
		t.Errorf("%d are open, %d were opened; want 3", s.conns.count(), opened)
	}
	return s
}

// streamed does something with a stream in a bubble, and ends it.
func streamed(t *testing.T, set func(*config.Limits), do func(*piped)) (s *Server) {
	synctest.Test(t, func(t *testing.T) {
		table, g := slowTable(t, set)
		p := connect(t, table)
		s = p.server
		do(p)
		close(g.gate)
		p.Close()
		p.done.Wait()
	})
	return s
}

// smallBuffer sends more queries than wait in the kernel of a server that does
// not answer at all.
func smallBuffer(t *testing.T) *Server {
	s := New(Options{Listeners: listenersOn("127.0.0.1:0"), Sockets: 1})
	s.Use(limited(answerTable(t), func(l *config.Limits) { l.UDPBuffer = 4 << 10 }))
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	udp, _ := s.Addrs()
	conn := dialed(t, "udp", udp[0])
	const sent = 500
	for range sent {
		if _, err := conn.Write(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	st := s.Stats()
	waiting := drain(s.udp[0].conn.(*net.UDPConn))
	if n := st.Limits["udpBuffer"].Reached; n != uint64(sent-waiting) || st.Dropped["overload"] != n || waiting == 0 {
		t.Errorf("%d of %d waited, %d lost, %d dropped", waiting, sent, n, st.Dropped["overload"])
	}
	if v := st.Limits["udpBuffer"].Value; v < 2<<10 || v > 8<<10 {
		t.Errorf("the buffer has %v octets", v)
	}
	return s
}

// drain counts what waits in a socket.
func drain(conn *net.UDPConn) (n int) {
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	for {
		if _, err := conn.Read(make([]byte, 512)); err != nil {
			return n
		}
		n++
	}
}

// bringing asks for a name of a zone with much to bring along, and wants so
// many records in the answer and additional sections.
func bringing(t *testing.T, name string, qtype uint16, set func(*config.Limits), answers, extra int) *Server {
	const zone = zoneHead + `c0 CNAME c1
c1 CNAME c2
c2 CNAME c3
c3 A 192.0.2.1
mx MX 1 a
mx MX 2 b
mx MX 3 c
mx MX 4 d
a A 192.0.2.1
a AAAA 2001:db8::1
b A 192.0.2.2
c A 192.0.2.3
d A 192.0.2.4
sub NS ns1.sub
sub NS ns2.sub
sub NS a
sub NS b
ns1.sub A 192.0.2.5
ns2.sub A 192.0.2.6
`
	if name == "mx" && qtype == dns.TypeMX && extra == 2 { // of the first two names, one address each
		return bringingIn(t, strings.Replace(zone, "a AAAA 2001:db8::1\n", "", 1), name, qtype, set, answers, extra)
	}
	return bringingIn(t, zone, name, qtype, set, answers, extra)
}

func bringingIn(t *testing.T, zone, name string, qtype uint16, set func(*config.Limits), answers, extra int) *Server {
	s := New(Options{})
	s.Use(limited(newTable(&config.DNS{}, mustZone(t, "example.com.", zone, nil)), set))
	packet, _ := asking(name+".example.com.", qtype).Pack()
	got := new(dns.Msg)
	if err := got.Unpack(s.newHandler(true).handle(packet, benchSource, make([]byte, 4096))); err != nil {
		t.Fatal(err)
	}
	if len(got.Answer) != answers || len(got.Extra) != extra || got.Truncated || got.Rcode != dns.RcodeSuccess {
		t.Errorf("want %d answers and %d addresses: %v", answers, extra, got)
	}
	return s
}

// zoneLimit reads a zone with one limit set, which its file exceeds. The zone
// is not served, but for warnings; the error names the key.
func zoneLimit(limit, severity, zone string) func(*testing.T) *Server {
	return func(t *testing.T) *Server {
		src := config.Source{Dir: ".", Name: "c.yaml", FS: fstest.MapFS{
			"c.yaml": {Data: []byte("version: 1\ndns: {limits: {zone: {" + limit + "}}}\nzones: [{name: example.com, file: zone}]\n")},
			"zone":   {Data: []byte(zoneHead + zone)},
			"more":   {Data: []byte("more A 192.0.2.1\n")},
		}}
		model, errs := config.Load(src)
		if errs.Failed() {
			t.Fatal(errs)
		}
		table, errs := Compile(Inputs{Model: model, Source: src})
		key := "zone." + limit[:strings.Index(limit, ":")]
		errs = slices.DeleteFunc(errs, func(e *config.Error) bool { return e.Limit == "" }) // what follows from it
		if len(errs) != 1 || errs[0].Limit != key || errs[0].Warning != (severity == "warning") || !strings.HasSuffix(errs[0].Text, "(dns.limits."+key+")") {
			t.Errorf("%v", errs)
		}
		if served := table.Zone("example.com.") != nil; served != (severity == "warning") {
			t.Errorf("the zone is served: %v", served)
		}
		s := New(Options{})
		s.Use(table)
		return s
	}
}

// tooManyZones reads a folder of more zones than there may be.
func tooManyZones(t *testing.T) *Server {
	r, most := newFolderRig(t), config.DefaultLimits()
	most.Zones = 1
	r.Folder = NewFolder(r.Source(), most)
	r.write("a.example", zoneHead)
	r.write("b.example", zoneHead)
	_, errs, err := r.Refresh()
	if err != nil || len(errs) != 1 {
		t.Errorf("%v, %v", errs, err)
	}
	s := New(Options{})
	s.Exceeded(errs)
	return s
}

// Limits of a running server change with its table, without a restart.
func TestLimits_Reload(t *testing.T) {
	s := New(Options{})
	s.Use(limited(answerTable(t), func(l *config.Limits) { l.ConnectionsPerClient = 1 }))
	open := func(port int) bool {
		p := &pipes{t, &s.conns, *s.limits()}
		return p.open(fmt.Sprintf("192.0.2.1:%d", port)) != nil
	}
	if !open(1) || open(2) {
		t.Error("one connection, and no second")
	}
	s.Use(limited(answerTable(t), func(l *config.Limits) { l.ConnectionsPerClient, l.Connections = 5, 2 }))
	if !open(3) || s.Stats().Limits["connections"].Value != 2 {
		t.Error("the new limits are not in force")
	}
	s.Use(limited(answerTable(t), func(l *config.Limits) { l.Connections = 1 }))
	if !open(4) || s.conns.count() != 1 {
		t.Errorf("%d connections after the limit was lowered to 1", s.conns.count())
	}
}

func listenersOn(address string) []*config.Listener {
	return []*config.Listener{{Address: netip.MustParseAddrPort(address)}}
}
