package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// space is a network namespace with a name, so that a person can enter it (ip
// netns exec NAME ...), and with a thread of ours that lives in it. Sockets
// that are opened and programs that are started on the thread belong there,
// whoever uses them. It is safe for use by several goroutines.
type space struct {
	name  string
	jobs  chan func()
	ended chan struct{}
}

// newSpace makes a namespace with nothing but loopback. A name that is taken
// is an error: it is somebody else's.
func newSpace(name string) (*space, error) {
	if err := run("ip", "", "netns", "add", name); err != nil {
		return nil, err
	}
	s := &space{name: name, jobs: make(chan func()), ended: make(chan struct{})}
	ready := make(chan error)
	go func() {
		defer close(s.ended)
		runtime.LockOSThread() // never unlocked: the thread ends here
		ready <- enter(name)
		for job := range s.jobs {
			job()
		}
	}()
	if err := <-ready; err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

// enter takes this thread into a namespace.
func enter(name string) error {
	fd, err := unix.Open(namespaces+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	return nil
}

// namespaces is where ip keeps the names.
const namespaces = "/run/netns/"

// remove ends the thread and takes the name away; the kernel removes what is
// in the namespace as soon as no program is left in it.
func (s *space) remove() error {
	close(s.jobs)
	<-s.ended
	return run("ip", "", "netns", "del", s.name)
}

// do runs job on the thread and waits for it. A job must not call do.
func (s *space) do(job func()) {
	done := make(chan struct{})
	s.jobs <- func() { defer close(done); job() }
	<-done
}

// ip gives lines to the ip program, one command each, in the namespace; those
// that begin with inet6 come last. A batch has one family, and rules need it.
func (s *space) ip(lines ...string) error {
	var plain, six []string
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, inet6); ok {
			six = append(six, rest)
		} else {
			plain = append(plain, line)
		}
	}
	return errors.Join(run("ip", strings.Join(plain, "\n"), "-n", s.name, "-batch", "-"),
		run("ip", strings.Join(six, "\n"), "-6", "-n", s.name, "-batch", "-"))
}

// inet6 marks a line for the family IPv6.
const inet6 = "-6 "

// set sets a value under /proc/sys/net, where a thread sees those of its
// namespace.
func (s *space) set(value string, names ...string) (err error) {
	s.do(func() {
		for _, name := range names {
			err = errors.Join(err, os.WriteFile("/proc/sys/net/"+name, []byte(value), 0))
		}
	})
	return err
}

// run runs a program with an input. What it says is in the error.
func run(program, input string, args ...string) error {
	cmd := exec.CommandContext(context.Background(), program, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must not end it halfway
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
