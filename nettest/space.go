package nettest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Space is a network namespace and the thread, or threads (see Crew), that live
// in it. Sockets that are opened there belong there, whoever uses them; so do
// programs that are started there. It is safe for use by several goroutines.
type Space struct {
	t     testing.TB
	tid   int
	jobs  chan func()
	ended chan struct{}
	crew  sync.WaitGroup
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
	t.Cleanup(func() { close(s.jobs); <-s.ended; s.crew.Wait() })
	if err := <-ready; err != nil {
		Missing(t, "needs a network namespace: run make e2e as root (%v)", err)
	}
	s.IP("link set lo up")
	return s
}

// Crew adds n threads to the namespace, so that as many more jobs run side by
// side.
func (s *Space) Crew(n int) {
	s.t.Helper()
	ready := make(chan error)
	for range n {
		s.crew.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends here
			err := enter(s.tid)
			ready <- err
			if err != nil {
				return
			}
			for job := range s.jobs {
				job()
			}
		})
		if err := <-ready; err != nil {
			s.t.Fatal(err)
		}
	}
}

// enter takes this thread into the namespace of another.
func enter(tid int) error {
	fd, err := unix.Open("/proc/self/task/"+strconv.Itoa(tid)+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, unix.CLONE_NEWNET)
}

// Do runs job on a thread of the namespace and waits for it. What job does to its thread, such
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

// Run runs a program in the namespace, with an input, and gives what it prints.
// What it says when it fails is in the error.
func (s *Space) Run(input, program string, args ...string) (out string, err error) {
	s.t.Helper()
	var octets []byte
	s.Do(func() {
		cmd := exec.Command(program, args...)
		cmd.Stdin = strings.NewReader(input)
		octets, err = cmd.CombinedOutput()
	})
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, octets)
	}
	return string(octets), err
}

// Must runs a program as Run does, and ends the test if it fails or is not
// there.
func (s *Space) Must(input, program string, args ...string) string {
	s.t.Helper()
	out, err := s.Run(input, program, args...)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		Missing(s.t, "needs the program %s", program)
	case err != nil:
		s.t.Fatal(err)
	}
	return out
}

// Batch gives lines to the ip program at once, one command each; those that
// begin with -6 come last, for a batch has one family.
func (s *Space) Batch(lines ...string) {
	s.t.Helper()
	var four, six strings.Builder
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "-6 "); ok {
			six.WriteString(rest + "\n")
		} else {
			four.WriteString(line + "\n")
		}
	}
	s.Must(four.String(), "ip", "-batch", "-")
	if six.Len() > 0 {
		s.Must(six.String(), "ip", "-6", "-batch", "-")
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
// namespace and another, with the name of the interface at either end. Both have
// their carrier when it returns: before, what is sent is dropped without a word, and
// the port of a bridge carries nothing.
func (s *Space) Cable(name string, other *Space, otherName string) {
	s.t.Helper()
	s.IP("link add name " + name + " type veth peer name " + otherName + " netns " + strconv.Itoa(other.tid))
	other.IP("link set dev " + otherName + " up")
	s.IP("link set dev " + name + " up")
	s.carrier(name)
	other.carrier(otherName)
}

// carrier waits until an interface sends.
func (s *Space) carrier(name string) {
	s.t.Helper()
	var nic *net.Interface
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		s.Do(func() { nic, err = net.InterfaceByName(name) })
		if err == nil && nic.Flags&net.FlagRunning != 0 {
			return
		}
		select {
		case <-s.t.Context().Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
	s.t.Fatalf("%s has no carrier: %v", name, err)
}
