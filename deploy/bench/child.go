package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/deploy/peers"
)

// server is an authoritative server as a child of this process.
type server struct {
	peers.Server
	geoOnly bool // it knows no weights and no health
}

// run runs a server on its core. It is stopped when ctx ends.
func (s *server) run(ctx context.Context, program string, args ...string) error {
	return s.Start(pinned(ctx, serverCore, program, args...))
}

// cpu gives the CPU time that all threads of the process have had.
func (s *server) cpu() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.Pid()))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("%s: no CPU times in /proc", s.Name)
	}
	var sum time.Duration
	for _, name := range tasks {
		text, err := os.ReadFile(name)
		if err != nil {
			return 0, err
		}
		nanos, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(nanos, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}
