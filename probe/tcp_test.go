package probe

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
)

func TestTCP(t *testing.T) {
	banner := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) { c.Write([]byte("220 mail ready\r\n")) })
	echo := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		line, _ := bufio.NewReader(c).ReadString('\n')
		c.Write([]byte(strings.ToUpper(line)))
	})
	mute := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) { c.Read(make([]byte, 1)) })
	six := serve(t, "tcp6", "[::1]:0", func(net.Conn) {})
	for _, c := range []struct {
		name, target string
		def          config.Probe
		outcome      Outcome
		saw          string
	}{
		{"connect", banner, config.Probe{}, Pass, `connected in [0-9.]+ ms`},
		{"v6", six, config.Probe{}, Pass, `connected in [0-9.]+ ms`},
		{"closed", closedPort(t), config.Probe{}, Fail, "connection refused"},
		{"expect without send", banner, config.Probe{Expect: "220"}, Pass, `connected in .*, "220" received`},
		{"send with escapes", echo, config.Probe{Send: `\x70ing\r\n`, Expect: "PING\r\n"}, Pass, `connected in .*received`},
		{"other text", banner, config.Probe{Expect: "250"}, Fail, `connected in .*, expected "250", got "220 mail ready\\r\\n"`},
		{"case counts", banner, config.Probe{Expect: "MAIL"}, Fail, `.*expected "MAIL".*`},
		{"silence", mute, config.Probe{Expect: "hello", Timeout: 50 * ms}, Fail, `connected in .*, then no reply within 50ms`},
		{"no port", "127.0.0.1", config.Probe{}, Void, `a tcp probe of 127.0.0.1 needs a port`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.def.Kind = "tcp"
			want(t, probeOnce(t, c.target, c.def), c.outcome, c.saw)
		})
	}
}

func TestSource(t *testing.T) {
	var from string
	target := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) {
		from = c.RemoteAddr().(*net.TCPAddr).IP.String()
		c.Write([]byte("x"))
	})
	def := config.Probe{Kind: "tcp", Source: netip.MustParseAddr("127.0.0.77"), Expect: "x"}
	want(t, probeOnce(t, target, def), Pass, ".*")
	if from != "127.0.0.77" {
		t.Errorf("came from %s", from)
	}
	def.Source = netip.MustParseAddr("203.0.113.99")
	want(t, probeOnce(t, target, def), Fail, "source 203.0.113.99 is not an address of this machine")
	def.Source = netip.MustParseAddr("::1")
	want(t, probeOnce(t, target, def), Void, "source ::1 and target 127.0.0.1 are of different families")
}

// The door for pinning a probe to a link: every socket passes by.
func TestControl(t *testing.T) {
	target := serve(t, "tcp", "127.0.0.1:0", func(net.Conn) {})
	refused := errors.New("link telecom has no interface")
	for _, kind := range []string{"tcp", "udp", "http", "https", "tls", "dns"} {
		calls := 0
		task := &Task{Target: addrPort(target), Probe: &config.Probe{Kind: kind, QueryName: "x"}}
		task.control = func(syscall.RawConn) error { calls++; return refused }
		want(t, runTask(t, task), Fail, ".*"+refused.Error()+".*")
		if calls != 1 {
			t.Errorf("%s: %d calls", kind, calls)
		}
	}
}

func TestSearchStraddles(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		for _, part := range []string{"heal", "thy", " yes"} {
			server.Write([]byte(part))
		}
		server.Close()
	}()
	if _, found, err := search(client, []byte("healthy")); !found || err != nil {
		t.Errorf("found %v, error %v", found, err)
	}
	client.Close()
	if _, found, _ := search(strings.NewReader(strings.Repeat("a", maxRead)+"needle"), []byte("needle")); found {
		t.Error("read past its bound")
	}
}

func TestUnescape(t *testing.T) {
	for in, out := range map[string]string{
		`say \"x\"`: `say "x"`,
		`GET\r\n`:   "GET\r\n", `\x00\x01`: "\x00\x01", `say "hi"`: `say "hi"`, "two\nlines": "two\nlines", `bad \q`: `bad \q`, "": "",
	} {
		if got := string(unescape(in)); got != out {
			t.Errorf("unescape(%q) = %q, want %q", in, got, out)
		}
	}
}

// Stopping a check does not wait for a timeout, whatever its kind waits for.
func TestStopInTime(t *testing.T) {
	mute := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) { io.Copy(io.Discard, c) })
	muteUDP := udpServer(t, func([]byte) [][]byte { return nil })
	for _, c := range []struct {
		target string
		def    config.Probe
	}{
		{mute, config.Probe{Kind: "tcp", Expect: "x"}},
		{mute, config.Probe{Kind: "http"}},
		{mute, config.Probe{Kind: "https"}},
		{mute, config.Probe{Kind: "tls"}},
		{muteUDP, config.Probe{Kind: "udp"}},
		{muteUDP, config.Probe{Kind: "dns", QueryName: "x"}},
		{"127.0.0.1", config.Probe{Kind: "exec", Command: []string{"sleep", "60"}}},
	} {
		c.def.Timeout = 60 * sec
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		start := time.Now()
		kinds[c.def.Kind].run(ctx, &Task{Target: addrPort(c.target), Probe: &c.def})
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s took %s to stop", c.def.Kind, d)
		}
	}
}
