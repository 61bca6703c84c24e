package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/nettest"
)

// asLab makes the test's program be the lab itself.
const asLab = "PORTOLAN_LAB_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asLab) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(buildFolder()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

func buildFolder() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("portolan-lab-test-%d", os.Getpid()))
}

// built builds the program once for all tests.
var built = sync.OnceValues(func() (string, error) {
	p := portolan{program: filepath.Join(buildFolder(), "portolan")}
	return p.program, p.make(context.Background())
})

// optionsOf gives the options of flags.
func optionsOf(t *testing.T, args ...string) *options {
	t.Helper()
	var o options
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	o.register(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &o
}

// needLab gives the program, or ends a test that cannot have a lab.
func needLab(t *testing.T) (program string) {
	t.Helper()
	nettest.NeedRoot(t)
	for _, tool := range []string{"ip", "dig"} {
		if _, err := exec.LookPath(tool); err != nil {
			nettest.Missing(t, "needs the program %s", tool)
		}
	}
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// inLab calls f in a lab. There is one at a time in a process: they are named
// after it. PORTOLAN_LAB has flags for it, so that everything can be tested with
// other addresses, thresholds and loads:
// PORTOLAN_LAB="-v4 10.9.0.0/16 -bandwidth 8Mbps -load 9Mbps".
func inLab(t *testing.T, f func(ctx context.Context, l *lab)) {
	t.Helper()
	o := optionsOf(t, append([]string{"-portolan", needLab(t)}, strings.Fields(os.Getenv("PORTOLAN_LAB"))...)...)
	err := within(t.Context(), o, t.TempDir(), func(ctx context.Context, l *lab) error { f(ctx, l); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

// TestLab_Root holds the network to account, and then plays every scene as lab
// scene NAME does. Each leaves the lab as it was.
func TestLab_Root(t *testing.T) {
	inLab(t, func(ctx context.Context, l *lab) {
		t.Run("network", func(t *testing.T) { testNetwork(ctx, t, l) })
		t.Run("load", func(t *testing.T) { testLoad(ctx, t, l) })
		for _, c := range scenes {
			t.Run(c.name, func(t *testing.T) {
				if err := (&stage{l, t.Output()}).perform(ctx, c.name); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// Every client reaches every server by both families, and
// the way takes as long as its wires say: its own ISP's, or the peering too.
func testNetwork(ctx context.Context, t *testing.T, l *lab) {
	for _, c := range clients {
		for _, v := range virtualServers(l.options) {
			want := 2 * l.uplink
			if v.link != c.isp {
				want += 2 * l.peering
			}
			for _, a := range []string{v.addr4.String(), "[" + v.addr6.String() + "]"} {
				fastest := time.Hour
				for n := 0; n < 20 && fastest > want+20*time.Millisecond; n++ { // machines are busy
					fastest = min(fastest, connect(t, l, c.name, a+":80"))
				}
				if fastest < want || fastest > want+20*time.Millisecond {
					t.Errorf("%s to %s (%s): %s there and back, want %s", c.name, v.name, a, fastest, want)
				}
			}
			if said, err := l.fetch(ctx, c.name, v.addr6); err != nil || said != v.name+"\n" {
				t.Errorf("%s to %s: %q, %v", c.name, v.name, said, err)
			}
		}
	}
	for _, c := range clients {
		to := l.addr6(ispOf(c).public, hostDNS).String()
		var out []byte
		var err error
		l.spaces[c.name].do(func() {
			out, err = exec.CommandContext(ctx, "dig", "@"+to, "-p", fmt.Sprint(l.dns), "+short", "www.lab.example", "AAAA").CombinedOutput()
		})
		if got := l.behind(strings.TrimSpace(string(out))); err != nil || !strings.HasSuffix(got, "-"+c.isp) {
			t.Errorf("%s asks @%s for AAAA: %q, %v", c.name, to, out, err)
		}
	}
	if drops := l.wires[telecom].dropped.Load() + l.wires[unicom].dropped.Load() + l.wires["peering"].dropped.Load(); drops > 0 {
		t.Errorf("wires dropped %d frames", drops)
	}
}

func ispOf(c clientNet) isp {
	return isps[slices.IndexFunc(isps, func(i isp) bool { return i.name == c.isp })]
}

// connect gives the time that a TCP handshake takes from a place.
func connect(t *testing.T, l *lab, from, to string) (took time.Duration) {
	t.Helper()
	var err error
	l.spaces[from].do(func() {
		began := time.Now()
		var conn net.Conn
		if conn, err = (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", to); err == nil {
			took = time.Since(began)
			err = conn.Close()
		}
	})
	if err != nil {
		t.Errorf("%s to %s: %v", from, to, err)
	}
	return took
}

// A load is as heavy as it says, at the interface that the meter
// looks at, and nothing of it is lost.
func testLoad(ctx context.Context, t *testing.T, l *lab) {
	for _, i := range isps {
		before, began := carriedBy(t, l, i.name), time.Now()
		f, err := l.fill(i.name, l.load, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_, err = until(ctx, 10*time.Second, func() error {
			if f.sent.Load() < uint64(l.load)/8*3/2 {
				return fmt.Errorf("%d octets sent", f.sent.Load())
			}
			return nil
		})
		took := time.Since(began)
		if err := errors.Join(err, f.stop()); err != nil {
			t.Fatal(err)
		}
		if t.Logf("%s: 1.5 s of load took %s", i.name, took); took < 1450*time.Millisecond { // more, where the machine is busy
			t.Errorf("it is heavier than %s", l.load)
		}
		sent, counted := float64(f.sent.Load()), float64(carriedBy(t, l, i.name)-before)
		if counted < float64(f.received.Load()) || counted > 1.02*sent+50e3 {
			t.Errorf("%s: %s; the interface counts %.0f", i.name, f, counted)
		}
		if lost := f.sent.Load() - f.received.Load(); lost > uint64(l.load)/8/10 { // what was on its way
			t.Errorf("%s: %d octets lost", i.name, lost)
		}
	}
}

// carriedBy gives what an interface of the gateway has sent, or received where
// loads come in, in octets.
func carriedBy(t *testing.T, l *lab, name string) uint64 {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", "-n", l.spaces[gateway].name, "-s", "-j", "link", "show", "dev", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Stats struct{ RX, TX struct{ Bytes uint64 } } `json:"stats64"`
	}
	if err := json.Unmarshal(out, &all); err != nil || len(all) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	if l.direction == "in" {
		return all[0].Stats.RX.Bytes
	}
	return all[0].Stats.TX.Bytes
}

// Two labs stand side by side; each takes away what it made when it is
// interrupted, and clean what one that was killed left behind. The machine's
// own network is what it was.
func TestLeavesNothing_Root(t *testing.T) {
	program := needLab(t)
	before := ownNetwork(t)
	first, second := startLab(t, program), startLab(t, program)
	for _, cmd := range []*exec.Cmd{first, second} {
		if got := namespacesOf(t, cmd); len(got) != len(places) {
			t.Errorf("lab %d has %v", cmd.Process.Pid, got)
		}
	}
	if got := ownNetwork(t); got != before {
		t.Errorf("while labs run the machine's network is\n%s\nand was\n%s", got, before)
	}
	if err := first.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Errorf("interrupted: %v", err)
	}
	if err := second.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = second.Wait() // it was killed
	if left := namespacesOf(t, first); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if left := namespacesOf(t, second); len(left) != len(places) {
		t.Errorf("the other lab has %v", left)
	}
	if err := parseAndRun(t.Context(), []string{"clean"}, nil, t.Output()); err != nil {
		t.Fatal(err)
	}
	if left := namespacesOf(t, second); len(left) > 0 {
		t.Errorf("clean left %v", left)
	}
	if got := ownNetwork(t); got != before {
		t.Errorf("the machine's network is\n%s\nand was\n%s", got, before)
	}
}

// startLab runs a lab as a process and waits until it tells what to type.
func startLab(t *testing.T, program string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-portolan", program)
	cmd.Env = append(os.Environ(), asLab+"=1", "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "or Ctrl-C") {
			return cmd
		}
	}
	t.Fatalf("the lab ended: %v", cmd.Wait())
	return nil
}

func namespacesOf(t *testing.T, cmd *exec.Cmd) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(namespaces)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), fmt.Sprintf("plab%d-", cmd.Process.Pid)) {
			names = append(names, e.Name())
		}
	}
	return names
}

// ownNetwork is what the machine itself has: interfaces, addresses, routes,
// rules and whether it forwards.
func ownNetwork(t *testing.T) string {
	t.Helper()
	var all []string
	for _, what := range []string{"-o link", "-o addr", "route show table all", "-6 route show table all", "rule", "-6 rule"} {
		out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(what)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", what, err, out)
		}
		all = append(all, string(out))
	}
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/all/rp_filter"} {
		value, err := os.ReadFile("/proc/sys/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(value))
	}
	return regexp.MustCompile(`[0-9]+sec`).ReplaceAllString(strings.Join(all, ""), "") // lifetimes run
}

// What goes to forged networks is told apart: replies, and what measures.
func TestWatcherSees(t *testing.T) {
	w := &watcher{dns: 53}
	to := func(address string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(address), 4000) }
	frame := func(kind uint16, from, to netip.AddrPort) []byte {
		return append(binary.BigEndian.AppendUint16(make([]byte, 12), kind), datagram(from, to, []byte("dns"))...)
	}
	dns := netip.MustParseAddrPort("198.18.1.53:53")
	for _, f := range [][]byte{frame(0x800, dns, to("100.64.0.1")), frame(0x800, to("198.18.1.53"), to("100.127.255.255")), // counted
		frame(0x800, dns, to("100.128.0.0")), frame(0x806, dns, to("100.64.0.1")), frame(0x800, dns, to("100.64.0.1"))[:30], nil} {
		w.see(f)
	}
	if w.replies.Load() != 1 || w.others.Load() != 1 {
		t.Errorf("%d replies, %d others", w.replies.Load(), w.others.Load())
	}
}

// The lowest mean of a load over a window, since a time.
func TestLeast(t *testing.T) {
	var f load
	began := time.Now()
	sent := uint64(0)
	for i := range 60 { // 1000 octets each 100 ms, but for a pause from 2.0 to 2.5 s
		f.sent.Store(sent)
		f.note(began.Add(time.Duration(i) * 100 * time.Millisecond))
		if i < 20 || i >= 25 {
			sent += 1000
		}
	}
	f.note(began.Add(5910 * time.Millisecond)) // too soon after the last
	for since, want := range map[time.Duration]config.Bandwidth{0: 40_000, 2300 * time.Millisecond: 64_000, 3 * time.Second: 80_000, 10 * time.Second: maxLoad} {
		if got := f.least(began.Add(since), time.Second); got != want {
			t.Errorf("since %s: %s, want %s", since, got, want)
		}
	}
}

// What a person types is understood or answered with what there is.
func TestObey(t *testing.T) {
	o := optionsOf(t)
	l := &lab{options: o, servers: map[string]*server{}, wires: map[string]*wire{telecom: {}}, gate: &portolan{}}
	var out strings.Builder
	s := &stage{l, &out}
	for line, want := range map[string]string{
		"":                         "",
		"delay telecom 60ms":       "",
		"delay telecom":            "usage: delay WIRE TIME",
		"delay moon 60ms":          "there is no wire moon; there are telecom, unicom, mobile and peering",
		"delay telecom 6h":         "a delay of 6h0m0s is not between 0s and 5s",
		"stop moon":                "there is no server moon",
		"pull moon":                "there is no link moon; there are telecom, unicom and mobile",
		"fill telecom fast 1s":     `"fast" is not a bandwidth such as 64kbps, 100Mbps or 1Gbps (bits, not bytes)`,
		"fill telecom 1Mbps 1h":    "a load of 1Mbps for 1h0m0s: want 1kbps to 50Mbps, for at most 2m0s",
		"fill telecom 900Mbps 10s": "a load of 900Mbps for 10s: want 1kbps to 50Mbps, for at most 2m0s",
		"fill moon 1Mbps 10s":      "there is no link moon; there are telecom and unicom",
		"cost telecom dear":        `"dear" is not a cost`,
		"fly":                      "there is no word fly here; help prints all of them",
		"scene moon":               "there is no scene moon; there are " + sceneNames() + " and all",
	} {
		got := ""
		if err := s.obey(t.Context(), strings.Fields(line)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	if d := time.Duration(l.wires[telecom].delay.Load()); d != 60*time.Millisecond {
		t.Errorf("the delay is %s", d)
	}
	if out.Len() > 0 {
		t.Errorf("printed %q", out.String())
	}
	if err := s.obey(t.Context(), []string{"help"}); err != nil || !strings.Contains(out.String(), "fill LINK RATE TIME") {
		t.Errorf("help: %v, %q", err, out.String())
	}
}

func TestOptions(t *testing.T) {
	for args, want := range map[string]string{
		"":                                     "",
		"-v4 10.9.0.0/16 -v6 fd00:9::/48":      "",
		"-v4 10.9.0.0/24":                      "-v4 10.9.0.0/24 is not an IPv4 /16",
		"-v6 10.9.0.0/16":                      "-v6 10.9.0.0/16 is not an IPv6 /48",
		"-rate 50% -recovery 60%":              "-recovery 60% and -rate 50%: want 1% <= recovery <= rate",
		"-load 15Mbps":                         "-load 15Mbps is not a tenth above 14Mbps, where a link of 20Mbps becomes busy",
		"-bandwidth 70Mbps -load 60Mbps":       "-load 60Mbps is above 50Mbps, which the lab's wires carry without loss",
		"-bandwidth 600kbps":                   "-bandwidth 600kbps: a link would never be free again; what the lab's probes and queries need is up to 200kbps",
		"-peering 4ms":                         "-peering 4ms: want at least 10ms, and no less than -uplink 5ms, so that one link is nearer to a client than the other",
		"-far 40ms":                            "-far 40ms: want at least half as much again as -uplink and -peering together, 35ms, and at most 5s",
		"-direction up":                        "-direction up is not total, in or out",
		"-crossings 0":                         "-crossings 0 is not between 1 and 100",
		"-bandwidth 2Mbps -load 3Mbps":         "",
		"-rate 90% -recovery 90% -load 20Mbps": "",
	} {
		got := ""
		if err := optionsOf(t, strings.Fields(args)...).check(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}

// Flags that are wrong end with what is right; the command says how it is used.
func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"scene"}, {"moon"}, {"scene", "a", "b"}} {
		if err := parseAndRun(t.Context(), args, strings.NewReader(""), io.Discard); err == nil || err.Error() != usage {
			t.Errorf("%v: %v", args, err)
		}
	}
	names := []string{}
	for _, p := range places {
		names = append(names, p.name)
	}
	if slices.Sort(names); len(slices.Compact(names)) != len(places) {
		t.Errorf("two places have one name: %v", names)
	}
}
