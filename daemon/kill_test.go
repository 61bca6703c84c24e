package daemon

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestKilledWhileChanging kills a server with SIGKILL at random moments while
// zones are added, replaced and removed. After each start every change that
// was acknowledged is there; the one that was under way has happened in full
// or not at all; nothing half written is left.
func TestKilledWhileChanging(t *testing.T) {
	if os.Getenv("PORTOLAN_TEST_SERVE") != "" {
		serveForever(t)
	}
	for _, mode := range []string{"state folder", "folder of zones"} {
		t.Run(mode, func(t *testing.T) {
			c := newChurn(t, 40, mode == "folder of zones")
			c.killed = true
			for range 10 {
				c.killWhileChanging(rand.N(50 * time.Millisecond))
			}
			child := c.child()
			c.recover()
			c.kill(child)
			if c.changes.Load() < 50 {
				t.Errorf("only %d changes were acknowledged", c.changes.Load())
			}
			t.Logf("%d changes were acknowledged", c.changes.Load())
		})
	}
}

// serveForever is the child: the server of the environment.
func serveForever(t *testing.T) {
	c := &churn{t: t}
	c.opts = Options{Config: os.Getenv("PORTOLAN_TEST_CONFIG"), Zones: os.Getenv("PORTOLAN_TEST_ZONES"),
		State: os.Getenv("PORTOLAN_TEST_STATE"), Socket: os.Getenv("PORTOLAN_TEST_SOCKET")}
	if c.opts.Zones != "" {
		c.opts.Listen = addresses(t, os.Getenv("PORTOLAN_TEST_SERVE"))
	}
	stop := c.serve()
	defer stop()
	fmt.Println("serving")
	select {} // until it is killed
}

// child starts a server and returns when it serves.
func (c *churn) child() *exec.Cmd {
	c.t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileChanging$")
	cmd.Env = append(os.Environ(), "PORTOLAN_TEST_SERVE="+c.listen, "PORTOLAN_TEST_CONFIG="+c.opts.Config,
		"PORTOLAN_TEST_ZONES="+c.opts.Zones, "PORTOLAN_TEST_STATE="+c.opts.State, "PORTOLAN_TEST_SOCKET="+c.opts.Socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "serving" {
			return cmd
		}
	}
	c.t.Fatalf("the server did not start: %q, %v", lines.Text(), cmd.Wait())
	return nil
}

func (c *churn) kill(cmd *exec.Cmd) {
	c.t.Helper()
	killed := cmd.Process.Kill()
	if err := cmd.Wait(); killed != nil || err == nil {
		c.t.Fatalf("kill: %v, wait: %v", killed, err)
	}
}

// killWhileChanging looks at what is left of the last time, then changes zones
// for a while, until the server is killed.
func (c *churn) killWhileChanging(after time.Duration) {
	c.t.Helper()
	child := c.child()
	c.recover()
	var writers sync.WaitGroup
	for w := range churnWriters {
		writers.Go(func() { c.write(c.t.Context(), w) })
	}
	enough := c.changes.Load() + 5
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); c.changes.Load() < enough && time.Now().Before(deadline); <-tick.C {
	}
	timer := time.NewTimer(after)
	<-timer.C
	c.kill(child)
	writers.Wait()
}

// recover holds every zone to what was acknowledged of it, and learns what has
// become of the change that was under way.
func (c *churn) recover() {
	c.t.Helper()
	conn, err := net.Dial("udp", c.listen)
	if err != nil {
		c.t.Fatal(err)
	}
	co := &dns.Conn{Conn: conn}
	defer func() { _ = co.Close() }()
	for _, z := range c.zones {
		for _, q := range churnQuestions {
			if why := c.check(co, z, q); why != "" {
				c.t.Error(why)
			}
		}
		reply, err := exchange(co, new(dns.Msg).SetQuestion(z.name, dns.TypeSOA))
		if err != nil {
			c.t.Fatal(err)
		}
		z.acked.Store(z.begun.Load())
		z.there = reply.Rcode == dns.RcodeSuccess
		if z.there { // as the version that it is, whether that came after the last word or before
			z.begun.Store(versionsIn(reply)[0])
			z.acked.Store(z.begun.Load())
			continue
		}
		z.absent.Or(1 << (z.begun.Load() % 64))
	}
	if c.lost.Load() > 0 {
		c.t.Error("a query had no answer")
	}
	dir := c.opts.Zones
	if dir == "" {
		dir = c.opts.State + "/zones"
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name()[0] == '.' && e.Name() != ".kept" {
			c.t.Errorf("left over: %s", e.Name())
		}
	}
}
