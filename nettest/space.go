package nettest

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Space is a network namespace and the one thread that lives in it. Sockets
// that are opened there belong there, whoever uses them; so do programs that
// are started there. It is safe for use by several goroutines.
type Space struct {
	t     testing.TB
	tid   int
	jobs  chan func()
	ended chan struct{}
}

// New makes a namespace with nothing but loopback, which is up. It is gone
// with the test.
func New(t testing.TB) *Space {
	t.Helper()
	NeedRoot(t)
	s := &Space{t: t, jobs: make(chan func()), ended: make(chan struct{})}
	ready := make(chan error)
	go func() {
		defer close(s.ended)
		runtime.LockOSThread() // never unlocked: the thread ends here, and its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		s.tid = unix.Gettid()
		ready <- err
		for job := range s.jobs {
			job()
		}
	}()
	t.Cleanup(func() { close(s.jobs); <-s.ended })
	if err := <-ready; err != nil {
		Missing(t, "needs a network namespace: run make e2e as root (%v)", err)
	}
	s.IP("link set lo up")
	return s
}

// Do runs job on the thread and waits for it. What job does to its thread, such
// as giving up a capability, lasts. A job must not call Do.
func (s *Space) Do(job func()) {
	s.t.Helper()
	done := make(chan struct{})
	select {
	case s.jobs <- func() { defer close(done); job() }:
		<-done
	case <-s.ended:
		s.t.Fatal("a job ended the thread of this namespace")
	}
}

// IP runs the ip program in the namespace, with arguments as one would type
// them: IP("addr add 192.0.2.1/24 dev eth0").
func (s *Space) IP(args string) {
	s.t.Helper()
	var out []byte
	var err error
	s.Do(func() { out, err = exec.CommandContext(s.t.Context(), "ip", strings.Fields(args)...).CombinedOutput() })
	if err != nil {
		Missing(s.t, "ip %s: %v: %s", args, err, out)
	}
}

// Set sets a value of this namespace under /proc/sys/net: Set("ipv4/ip_forward", "1").
func (s *Space) Set(name, value string) {
	s.t.Helper()
	var err error
	s.Do(func() { err = os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
	if err != nil {
		s.t.Fatal(err)
	}
}

// Cable puts a cable (a pair of veth interfaces, both up) between this
// namespace and another, with the name of the interface at either end.
func (s *Space) Cable(name string, other *Space, otherName string) {
	s.t.Helper()
	s.IP("link add name " + name + " type veth peer name " + otherName + " netns " + strconv.Itoa(other.tid))
	other.IP("link set dev " + otherName + " up")
	s.IP("link set dev " + name + " up")
}
