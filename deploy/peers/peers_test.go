package peers

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A server that ends before it is ready is an error that tells what it said.
func TestServerThatEnds(t *testing.T) {
	s := &Server{Name: "short"}
	if err := s.Start(Command(t.Context(), "sh", "-c", "echo no such zone; exit 3")); err != nil {
		t.Fatal(err)
	}
	s.Wait()
	err := s.Ready(t.Context(), func() error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "short ended: no such zone") {
		t.Errorf("got %v", err)
	}
	if !s.Ended() {
		t.Error("it has ended, and Ended says no")
	}
}

// A server is asked to end when its context ends, and Wait returns when it is
// gone; not before.
func TestServerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &Server{Name: "patient"}
	file := filepath.Join(t.TempDir(), "ended")
	if err := s.Start(Command(ctx, "sh", "-c", `trap 'echo bye > "$0"; exit 0' TERM; echo up; while :; do sleep 0.01; done`, file)); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context(), func() error {
		if s.Said() != "up\n" {
			return errors.New("not up")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if s.Ended() {
		t.Error("it runs, and Ended says that it does not")
	}
	cancel()
	s.Wait()
	if text, err := os.ReadFile(file); err != nil || string(text) != "bye\n" {
		t.Errorf("it was not asked to end: %q, %v", text, err)
	}
}

func TestServerNeverStarted(t *testing.T) {
	s := &Server{Name: "none"}
	if err := s.Start(Command(t.Context(), filepath.Join(t.TempDir(), "no-such-program"))); err == nil {
		t.Error("a program that is not there was started")
	}
	s.Wait() // or this test ends never
}

// The transcript keeps its bound however much a server prints.
func TestTranscriptIsBounded(t *testing.T) {
	var said transcript
	for range 100 {
		if n, err := said.Write(make([]byte, 4096)); n != 4096 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := len(said.String()); got != maxTranscript {
		t.Errorf("%d octets kept, want %d", got, maxTranscript)
	}
}

func TestFreePort(t *testing.T) {
	addr, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	u.Close()
}

func TestFilesAndFolders(t *testing.T) {
	var dir string
	err := InTemp("peers-test-", func(d string) error {
		dir = d
		if err := WriteFiles(d, map[string]string{"a": "1", "b/c/d": "2"}); err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(d, "b/c/d"))
		if string(text) != "2" {
			t.Errorf("got %q", text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if got := FirstLine("sh", "-c", "echo hello; echo server version 4"); got != "server version 4" {
		t.Errorf("got %q", got)
	}
}
