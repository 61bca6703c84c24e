package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/nettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// probeOnce makes one probe of a kind; 2 s is for what must answer, silence is
// tested with less.
func probeOnce(t *testing.T, target string, def config.Probe) Result {
	t.Helper()
	task := &Task{Target: addrPort(target), Probe: &def, Pin: Pin{Source: def.Source}, readFile: os.ReadFile}
	return runTask(t, task)
}

func runTask(t *testing.T, task *Task) Result {
	t.Helper()
	if task.Probe.Timeout == 0 {
		task.Probe.Timeout = config.Duration(2 * time.Second)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(task.Probe.Timeout))
	defer cancel()
	return kinds[task.Probe.Kind].run(ctx, task)
}

// addrPort reads a target with or without a port.
func addrPort(s string) netip.AddrPort {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 0)
	}
	return netip.MustParseAddrPort(s)
}

func want(t *testing.T, got Result, outcome Outcome, saw string) {
	t.Helper()
	if got.Outcome != outcome || !regexp.MustCompile("^(?:"+saw+")$").MatchString(got.Saw) {
		t.Errorf("got %s %q, want %s %q", got.Outcome, got.Saw, outcome, saw)
	}
}

// serve runs a TCP server on loopback that gives each connection to handle.
func serve(t *testing.T, network, address string, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		nettest.Missing(t, "cannot listen on %s: %v", address, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// closedPort gives a loopback address that nothing listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// needRaw is for a test that sends packets of its own making.
func needRaw(t *testing.T) {
	t.Helper()
	nettest.NeedRoot(t)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP)
	if err != nil {
		nettest.Missing(t, "needs CAP_NET_RAW: run make e2e as root (%v)", err)
	}
	syscall.Close(fd)
}

const (
	ms  = config.Duration(time.Millisecond)
	sec = config.Duration(time.Second)
)

// The kinds that can be run are the words that a configuration may use.
func TestKindsAreWords(t *testing.T) {
	_, errs := config.LoadBytes([]byte("version: 1\nprobes: [{name: x, kind: bogus}]\n"), config.Source{FS: fstest.MapFS{}, Dir: ".", Name: "portolan.yaml"})
	want := strings.Join(Kinds(), " ")
	for _, err := range errs {
		_, list, _ := strings.Cut(err.Text, "is not one of: ")
		words := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(words)
		if got := strings.Join(words, " "); got == want {
			return
		}
	}
	t.Errorf("no error lists %s:\n%v", want, errs)
}

func TestClean(t *testing.T) {
	if got := clean("a\x1b[31m\xff\nb"); got != "a?[31m??b" {
		t.Errorf("got %q", got)
	}
	if got := clean(string(make([]byte, 1000))); len(got) != maxSaw+3 {
		t.Errorf("%d bytes", len(got))
	}
}

// Our own lack of something is not the target's failure.
func TestFailed(t *testing.T) {
	task := &Task{Probe: &config.Probe{Timeout: 3 * sec}}
	wrapped := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	want(t, task.failed(wrapped(syscall.ECONNREFUSED)), Fail, "connection refused")
	want(t, task.failed(wrapped(syscall.EHOSTUNREACH)), Fail, "no route to host")
	want(t, task.failed(wrapped(syscall.EMFILE)), Void, "cannot probe: too many open files")
	want(t, task.failed(wrapped(syscall.EADDRNOTAVAIL)), Void, "cannot probe: .*")
	want(t, task.failed(fmt.Errorf("x: %w", os.ErrDeadlineExceeded)), Fail, "no reply within 3s")
}
