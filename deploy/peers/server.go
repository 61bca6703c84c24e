package peers

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Server is an authoritative server as a child of this process. Its methods
// may be called from any goroutine once Start has returned.
type Server struct {
	Name    string
	Version string         // as the program tells it
	Addr    netip.AddrPort // where it listens, by UDP and TCP

	cmd   *exec.Cmd
	said  transcript
	ended chan struct{} // closed when the process is gone
}

// transcript keeps the first octets that a process prints: enough to say why
// it ended, and no more however much it prints.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const maxTranscript = 64 << 10

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p[:min(len(p), maxTranscript-t.text.Len())])
	return len(p), nil
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// Command makes a command that dies with us and is asked to end when ctx ends;
// five seconds later it is killed.
func Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Start starts the server, once, by a command that stays in the foreground.
func (s *Server) Start(cmd *exec.Cmd) error {
	s.cmd = cmd
	cmd.Stdout, cmd.Stderr = &s.said, &s.said
	if err := cmd.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		_ = cmd.Wait() // how it ends is of no interest; that it ends too early is
	}()
	return nil
}

// Ready waits until a condition holds of the server, for a minute at most.
func (s *Server) Ready(ctx context.Context, is func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := is()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return fmt.Errorf("%s ended: %.2000s", s.Name, s.Said())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", s.Name, err)
		}
	}
}

// Wait waits until the process is gone; end it by the context of its command.
// For a server that was never started it returns at once.
func (s *Server) Wait() {
	if s.ended != nil {
		<-s.ended
	}
}

// Ended says whether the process is gone.
func (s *Server) Ended() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Said gives what the server printed, the first 64 kB of it.
func (s *Server) Said() string { return s.said.String() }

// Pid gives the process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Signal sends the process a signal.
func (s *Server) Signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }
