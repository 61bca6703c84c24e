package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/portolan-lb/portolan/api/client"
)

// patience is how long a script waits for what must happen soon.
const patience = 15 * time.Second

// poll calls done every few milliseconds until it is true or patience ends.
func poll(done func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if done() {
			return true
		}
	}
	return false
}

// freePort gives an address that nothing listens on.
func freePort(host string) (string, error) {
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// exits CODE COMMAND... runs a command that must end with that exit code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	if got := cmp.Or(exit, &exec.ExitError{}).ExitCode(); exit != nil && got != want || exit == nil && want != 0 {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// says CODE REGEXP COMMAND... is exits for a command that prints nothing but
// one error, which is one line.
func cmdSays(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: says CODE REGEXP COMMAND...")
	}
	cmdExits(ts, false, append([]string{args[0]}, args[2:]...))
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("stdout: %s", out)
	}
	if text := ts.ReadFile("stderr"); !regexp.MustCompile(`\A(?:` + args[1] + `)\n\z`).MatchString(text) {
		ts.Fatalf("stderr is %q, want one line: %s", text, args[1])
	}
}

// until REGEXP COMMAND... runs a command until its stdout matches.
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND...")
	}
	want := regexp.MustCompile(`(?m)` + args[0])
	if !poll(func() bool {
		return ts.Exec(args[1], args[2:]...) == nil && want.MatchString(ts.ReadFile("stdout")) != neg
	}) {
		ts.Fatalf("it never printed %s", args[0])
	}
}

// wait-ready waits until the server of this script can do its work.
func cmdWaitReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: wait-ready")
	}
	c := client.New(ts.Getenv("PORTOLAN_SOCKET"))
	var last error
	if !poll(func() bool {
		r, err := c.Ready(context.Background())
		last = err
		return err == nil && r.Ready
	}) {
		ts.Fatalf("the server is not ready: %v", last)
	}
}

// ask NAME TYPE [ECS] prints the answer: rcode, then data.
func cmdAsk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: ask NAME TYPE [ECS]")
	}
	text, err := ask(ts.Getenv("DNS"), args)
	ts.Check(err)
	_, _ = fmt.Fprintln(ts.Stdout(), text)
}

// becomes ANSWER NAME TYPE [ECS] asks until the answer is that.
func cmdBecomes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: becomes ANSWER NAME TYPE [ECS]")
	}
	var got string
	var err error
	if !poll(func() bool {
		got, err = ask(ts.Getenv("DNS"), args[1:])
		return err == nil && got == args[0]
	}) {
		ts.Fatalf("the answer is %q (%v), want %q", got, err, args[0])
	}
}

func ask(server string, args []string) (string, error) {
	m := new(dns.Msg).SetQuestion(dns.Fqdn(args[0]), dns.StringToType[args[1]])
	if len(args) > 2 {
		p, err := netip.ParsePrefix(args[2])
		if err != nil {
			return "", err
		}
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{
			Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()})
	}
	reply, err := dns.Exchange(m, server)
	if err != nil {
		return "", err
	}
	text := dns.RcodeToString[reply.Rcode]
	for _, rr := range reply.Answer {
		text += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	return text, nil
}

// fill FILE... puts $DNS, $TARGET and $WORK into files.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		ts.Check(fill(ts.MkAbs(name), ts.Getenv))
	}
}

func cmdTargetDown(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Value(targetKey{}).(*target).down()
}

func cmdTargetUp(ts *testscript.TestScript, _ bool, _ []string) {
	t := ts.Value(targetKey{}).(*target)
	ts.Check(t.up(t.address))
}

// target-says STATUS sets the HTTP status line, a Go string without quotes.
func cmdTargetSays(ts *testscript.TestScript, _ bool, args []string) {
	says, err := strconv.Unquote(`"` + strings.Join(args, " ") + `"`)
	ts.Check(err)
	t := ts.Value(targetKey{}).(*target)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.says = says
}

type targetKey struct{}

// target is what a script's probes reach: an HTTP server that may send any
// bytes as its status.
type target struct {
	address string

	mu   sync.Mutex
	says string
	stop func()
}

func (t *target) up(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	t.address = l.Addr().String()
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() { t.answer(c) })
		}
	})
	t.stop = func() { _ = l.Close(); done.Wait() }
	return nil
}

func (t *target) down() { t.stop() }

func (t *target) answer(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", t.says)
}
