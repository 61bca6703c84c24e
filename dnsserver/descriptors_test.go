package dnsserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// childVariable makes this test program the server of TestDescriptors.
const childVariable = "PORTOLAN_TEST_DESCRIPTORS"

// starved is a server in a process of its own, with few descriptors.
type starved struct {
	t        *testing.T
	pid      int
	stdin    io.WriteCloser
	out      *bufio.Scanner
	udp, tcp netip.AddrPort
}

func startStarved(t *testing.T, descriptors int) *starved {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" -test.run '^TestDescriptorsChild$' -test.timeout 5m`, descriptors), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); _ = cmd.Wait(); cancel() })
	c := &starved{t: t, pid: cmd.Process.Pid, stdin: stdin, out: bufio.NewScanner(stdout)}
	c.udp = netip.MustParseAddrPort(c.line("udp "))
	c.tcp = netip.MustParseAddrPort(c.line("tcp "))
	return c
}

// line gives the rest of the next line of the child that begins so.
func (c *starved) line(begin string) string {
	c.t.Helper()
	for c.out.Scan() {
		if rest, ok := strings.CutPrefix(c.out.Text(), begin); ok {
			return rest
		}
	}
	c.t.Fatalf("the child said no %q: %v", begin, c.out.Err())
	return ""
}

func (c *starved) tell(word string) string {
	c.t.Helper()
	if _, err := io.WriteString(c.stdin, word+"\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.line("did ")
}

// cpu gives the CPU time that the child has had.
func (c *starved) cpu() time.Duration {
	c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.pid))
	if err != nil {
		c.t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))
	var user, system int
	if _, err := fmt.Sscan(fields[12]+" "+fields[13], &user, &system); err != nil {
		c.t.Fatal(err)
	}
	return time.Duration(user+system) * time.Second / 100 // USER_HZ is 100 on Linux
}

// TestDescriptorsChild is the server. It is told by its standard input what to
// do, and ends with it.
func TestDescriptorsChild(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		return // a part of TestDescriptors
	}
	s := New(Options{Listeners: listenersOn("127.0.0.1:0"), Sockets: 1})
	s.Use(answerTable(t))
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	udp, tcp := s.Addrs()
	fmt.Printf("udp %v\ntcp %v\n", udp[0], tcp[0])
	var taken []int
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "hog": // every descriptor that is left
			for {
				fd, err := unix.Eventfd(0, 0)
				if err != nil {
					break
				}
				taken = append(taken, fd)
			}
		case "free":
			for _, fd := range taken {
				unix.Close(fd)
			}
			taken = nil
		}
		st := s.Stats()
		fmt.Printf("did %d taken, %+v, at most %v\n", len(taken), st.Conns, st.Limits["connections"].Value)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// asks asks over UDP once a millisecond for a while: the 99th percentile of the
// time that answers took, and how many did not come.
func (c *starved) asks(during time.Duration) (p99 time.Duration, asked, lost int) {
	c.t.Helper()
	conn := dialed(c.t, "udp", c.udp)
	defer conn.Close()
	packet, _ := asking("mail.example.com.", dns.TypeA).Pack()
	var took []time.Duration
	buf := make([]byte, 512)
	for until := time.Now().Add(during); time.Now().Before(until); asked++ {
		start := time.Now()
		binary.BigEndian.PutUint16(packet, uint16(asked))
		if _, err := conn.Write(packet); err != nil {
			c.t.Fatal(err)
		}
		_ = conn.SetReadDeadline(start.Add(time.Second))
		if n, err := conn.Read(buf); err != nil || n < 12 || binary.BigEndian.Uint16(buf) != uint16(asked) {
			lost++
			continue
		}
		took = append(took, time.Since(start))
		pause(c.t.Context(), time.Millisecond)
	}
	slices.Sort(took)
	return took[len(took)*99/100], asked, lost
}

// serves asks over a new TCP connection until it is answered.
func (c *starved) serves() time.Duration {
	c.t.Helper()
	start := time.Now()
	for time.Since(start) < 20*time.Second {
		client := &dns.Client{Net: "tcp", Timeout: time.Second, Dialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 9, 9)}, Timeout: time.Second}}
		if got, _, err := client.Exchange(asking("mail.example.com.", dns.TypeA), c.tcp.String()); err == nil && len(got.Answer) == 1 {
			break
		}
	}
	return time.Since(start)
}

// With 64 descriptors and 500 connections the server takes under a tenth of a
// core, UDP does not feel it, and TCP is served within two seconds after they
// have left (reliability 2.2, TestFDExhaustion): with the server's own bound,
// and when others have taken every descriptor.
func TestDescriptors(t *testing.T) {
	const descriptors, connections = 64, 500
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur < connections+100 {
		t.Skipf("needs %d descriptors for the clients, there are %d", connections+100, l.Cur)
	}
	for _, hogged := range []bool{false, true} {
		t.Run(map[bool]string{false: "own bound", true: "taken by others"}[hogged], func(t *testing.T) {
			c := startStarved(t, descriptors)
			calm, _, _ := c.asks(time.Second)
			if hogged {
				t.Log("before: " + c.tell("hog"))
			}
			var conns []net.Conn
			for i := range connections {
				conns = append(conns, dialFrom(t, netip.AddrFrom4([4]byte{127, 0, 2, byte(i % 250)}), c.tcp))
			}
			before, start := c.cpu(), time.Now()
			p99, asked, lost := c.asks(3 * time.Second)
			used := float64(c.cpu()-before) / float64(time.Since(start))
			state := c.tell("nothing")
			for _, conn := range conns {
				conn.Close()
			}
			if hogged {
				c.tell("free")
			}
			again := c.serves()
			t.Logf("%d connections: %.1f %% of a core, %d UDP queries and all; UDP p99 %v (%v before), %d lost; TCP served after %v; %s",
				connections, used*100, asked, p99, calm, lost, again, state)
			if used > 0.1 {
				t.Errorf("%.1f %% of a core", used*100)
			}
			if most := max(10*time.Millisecond, 4*calm); p99 > most { // of a machine that is busy otherwise
				t.Errorf("UDP p99 %v, want %v at most", p99, most)
			}
			if lost > 0 {
				t.Errorf("%d of %d UDP queries lost", lost, asked)
			}
			if again > 2*time.Second {
				t.Errorf("TCP is served again after %v", again)
			}
		})
	}
}
