package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/portolan-lb/portolan/daemon"
)

// TestOracle asks a gdnsd and a server of ours with the converted configuration
// the same questions of the same clients. Answers are equal as sets; where
// gdnsd answers by lot, what is answered over many questions is equal, and how
// often about so.
func TestOracle(t *testing.T) {
	program, err := exec.LookPath("gdnsd")
	if err != nil {
		t.Skip("gdnsd is not installed: its answers are not compared with ours")
	}
	archive, err := txtar.ParseFile("testdata/oracle.txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir, monitored := t.TempDir(), listenTCP(t)
	theirs := freeAddr(t)
	writeGdnsd(t, filepath.Join(dir, "gdnsd"), archive, theirs, monitored)
	ours := freeAddr(t)
	writeGdnsd(t, filepath.Join(dir, "copy"), archive, ours, monitored)
	src, err := daemon.SourceOf(filepath.Join(dir, "copy"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := GDNSD(src)
	if err != nil {
		t.Fatal(err)
	}
	startOurs(t, filepath.Join(dir, "portolan"), r)
	startGdnsd(t, program, filepath.Join(dir, "gdnsd"))
	o := &oracle{t: t, theirs: dialDNS(t, theirs), ours: dialDNS(t, ours), names: namesOf(t, archive)}
	o.wait()
	o.compare()
	o.lots()
	t.Logf("%d questions were asked of both, %d answers differ", o.asked, o.differ)
}

// writeGdnsd writes the folder of a gdnsd that needs no privilege.
func writeGdnsd(t *testing.T, dir string, archive *txtar.Archive, listen string, monitored int) {
	files := inputs(archive)
	files["geoip/city.mmdb"] = cityDatabase(t)
	files["local.cfg"] = fmt.Appendf(nil, "listen => [ %s ] run_dir => %q state_dir => %q\n", listen, dir+"/run", dir+"/state")
	files["services.cfg"] = bytes.ReplaceAll(files["services.cfg"], []byte("port => 9,"), fmt.Appendf(nil, "port => %d,", monitored))
	writeFiles(t, dir, files)
}

func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// listenTCP listens on 127.0.0.1, where both servers' monitors connect, and
// gives the port. On 127.0.0.2 nothing listens there.
func listenTCP(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wait.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// freeAddr gives an address of loopback that nothing listens on.
func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func startGdnsd(t *testing.T, program, dir string) {
	var log strings.Builder
	cmd := exec.Command(program, "-c", dir, "start")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("gdnsd says:\n%s", log.String())
		}
	})
}

func startOurs(t *testing.T, dir string, r *Result) {
	files := maps.Clone(r.Files)
	files[ConfigName] = r.Config
	writeFiles(t, dir, files)
	ready := make(chan struct{})
	d := daemon.New(daemon.Options{Config: filepath.Join(dir, ConfigName), Log: slog.New(slog.DiscardHandler),
		Ready: func(*daemon.Daemon) { close(ready) }})
	ctx, stop := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	ended := make(chan error, 1)
	wait.Go(func() { ended <- d.Run(ctx) })
	t.Cleanup(func() { stop(); wait.Wait() })
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
}

func dialDNS(t *testing.T, address string) *dns.Conn {
	c, err := dns.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// namesOf lists the owners of the archive's zone.
func namesOf(t *testing.T, archive *txtar.Archive) []string {
	all := []string{"example.com.", "x.wild.example.com.", "nobody.example.com.", "deep.sub.example.com.", "here.sub.example.com."}
	for line := range strings.Lines(string(inputs(archive)["zones/example.com"])) {
		if name, rest, _ := strings.Cut(line, " "); strings.Contains(rest, "DYN") && !strings.ContainsAny(name, "@*$") {
			all = append(all, name+".example.com.")
		}
	}
	if len(all) < 40 {
		t.Fatal("the zone was not read: ", all)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

type oracle struct {
	t             *testing.T
	theirs, ours  *dns.Conn
	names         []string
	asked, differ int
}

// lot says whether gdnsd answers a name by lot.
func lot(name string) bool {
	return slices.Contains([]string{"wone", "wnames", "wfamilies", "wmeta", "wgeo", "wdead"}, strings.SplitN(name, ".", 2)[0])
}

// ask asks one server, again if the answer is lost.
func ask(c *dns.Conn, name string, qtype uint16, client netip.Prefix) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.RecursionDesired = false
	m.SetEdns0(1232, false)
	family := uint16(1)
	if client.Addr().Is6() {
		family = 2
	}
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family,
		SourceNetmask: uint8(client.Bits()), Address: client.Addr().AsSlice()})
	var last error
	for range 3 {
		if last = c.SetDeadline(time.Now().Add(2 * time.Second)); last != nil {
			return nil, last
		}
		if last = c.WriteMsg(m); last != nil {
			continue
		}
		for {
			reply, err := c.ReadMsg()
			if last = err; err != nil {
				break
			}
			if reply.Id == m.Id {
				return reply, nil
			}
		}
	}
	return nil, errors.Join(fmt.Errorf("%s %s", name, dns.TypeToString[qtype]), last)
}

// wait waits until both servers answer every name: ours begins when each member
// has a first result.
func (o *oracle) wait() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		ready := true
		for _, c := range []*dns.Conn{o.theirs, o.ours} {
			for _, name := range o.names {
				reply, err := ask(c, name, dns.TypeA, netip.MustParsePrefix("1.0.0.0/24"))
				if ready = ready && err == nil && reply.Rcode != dns.RcodeServerFailure; !ready {
					break
				}
			}
		}
		if ready {
			return
		}
	}
	o.t.Fatal("the servers do not answer")
}

// short gives rcode and data of a reply, as a set.
func short(m *dns.Msg) string {
	var data []string
	for _, rr := range m.Answer {
		data = append(data, dns.TypeToString[rr.Header().Rrtype]+" "+strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(data)
	return dns.RcodeToString[m.Rcode] + " " + strings.Join(data, ", ")
}

// clients are some of each network of the database and of the nets, others, and
// the edges between them.
func clients() []netip.Prefix {
	var all []netip.Prefix
	around := func(p netip.Prefix) {
		bits := min(p.Addr().BitLen(), max(p.Bits(), 24))
		if p.Addr().Is6() {
			bits = max(p.Bits(), 48)
		}
		inside := netip.PrefixFrom(p.Addr(), bits)
		all = append(all, inside)
		if before := p.Addr().Prev(); before.IsValid() {
			if outside, err := before.Prefix(bits); err == nil {
				all = append(all, outside)
			}
		}
	}
	for _, n := range networks {
		around(netip.MustParsePrefix(n.prefix))
	}
	for _, text := range strings.Fields(`10.0.0.0/8 10.1.0.0/16 10.1.2.0/24 10.1.2.128/25 10.1.3.0/24 10.2.0.0/16 192.0.2.0/24 192.0.3.0/24
		2001:db8::/32 2001:db8:1::/48 2001:db8:2::/48 81.2.69.142/32 172.16.0.0/12 172.20.0.0/16 172.32.0.0/16 100.64.0.0/24 100.64.77.0/24
		100.64.178.0/24 198.51.100.7/32 203.0.113.0/24`) {
		around(netip.MustParsePrefix(text))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		a := netip.AddrFrom4([4]byte{172, byte(16 + random.IntN(17)), byte(random.IntN(256)), 0})
		all = append(all, netip.PrefixFrom(a, 24))
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int { return a.Compare(b) })
	return slices.Compact(all)
}

// compare asks every name for every client, and both types.
func (o *oracle) compare() {
	for _, name := range o.names {
		if lot(name) {
			continue
		}
		for _, client := range clients() {
			for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
				if differsByDesign(name, qtype) {
					continue
				}
				theirs, err := ask(o.theirs, name, qtype, client)
				ours, err2 := ask(o.ours, name, qtype, client)
				if err = errors.Join(err, err2); err != nil {
					o.t.Fatal(err)
				}
				o.asked++
				if a, b := short(theirs), short(ours); a != b {
					if o.differ++; o.differ <= 20 {
						o.t.Errorf("%s %s for %s: gdnsd %s, portolan %s", name, dns.TypeToString[qtype], client, a, b)
					}
				}
				o.sameTTL(name, theirs, ours)
			}
		}
	}
}

// differsByDesign lists what the report tells of: a family that a datacentre
// lacks is served by another one here.
func differsByDesign(name string, qtype uint16) bool {
	return qtype == dns.TypeAAAA && slices.Contains([]string{"world.example.com.", "layers.example.com."}, name)
}

// sameTTL compares TTLs where nothing is monitored: the upper bound.
func (o *oracle) sameTTL(name string, theirs, ours *dns.Msg) {
	if len(theirs.Answer) == 0 || len(ours.Answer) == 0 {
		return
	}
	a, b := theirs.Answer[0].Header().Ttl, ours.Answer[0].Header().Ttl
	if a != b && b != a/2 { // the lower bound: health is ignored in this answer
		o.t.Errorf("%s: TTL %d of gdnsd, %d of portolan", name, a, b)
	}
}

// lots compares what is answered by lot: the same answers, about as often. With
// 1,000 questions the share of an answer is within 0.08 of what it should be in
// all but one of ten million runs, and so are two within 0.12 of each other.
func (o *oracle) lots() {
	const questions = 1000
	client := netip.MustParsePrefix("1.0.0.0/24")
	for _, name := range o.names {
		if !lot(name) {
			continue
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
			shares := [2]map[string]int{{}, {}}
			for range questions {
				for i, c := range []*dns.Conn{o.theirs, o.ours} {
					reply, err := ask(c, name, qtype, client)
					if err != nil {
						o.t.Fatal(err)
					}
					shares[i][short(reply)]++
				}
				o.asked++
			}
			for answer := range maps.Keys(shares[0]) {
				if d := shares[0][answer] - shares[1][answer]; d > questions*12/100 || d < -questions*12/100 {
					o.t.Errorf("%s %s: %s is answered %d times by gdnsd, %d by portolan", name, dns.TypeToString[qtype], answer, shares[0][answer], shares[1][answer])
				}
			}
			if a, b := slices.Sorted(maps.Keys(shares[0])), slices.Sorted(maps.Keys(shares[1])); !slices.Equal(a, b) {
				o.t.Errorf("%s %s: gdnsd answers %q, portolan %q", name, dns.TypeToString[qtype], a, b)
			}
		}
	}
}
