package dnsproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/probe"
)

// inSpace is what a proxy in a process of its own is made of: it opens sockets as
// long as it lives, so all of it has to live in the namespace.
type inSpace struct {
	Model *config.Model
	Pins  map[string]probe.Pin // by link

	Direct bool   // takes queries that nobody intercepted
	Files  uint64 // descriptors that it may have; 0: as many as it likes
}

const inSpaceEnv = "PORTOLAN_TEST_DNSPROXY"

func TestMain(m *testing.M) {
	if os.Getenv(inSpaceEnv) == "" {
		os.Exit(m.Run())
	}
	if err := runInSpace(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// runInSpace runs a proxy until its input ends.
func runInSpace() error {
	var is inSpace
	if err := json.Unmarshal([]byte(os.Getenv(inSpaceEnv)), &is); err != nil {
		return err
	}
	if is.Files > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: is.Files, Max: is.Files}); err != nil {
			return err
		}
	}
	p := New(Options{Direct: is.Direct, Way: func(link string) (probe.Pin, bool) { pin, ok := is.Pins[link]; return pin, ok || is.Pins == nil }})
	plan, err := Compile(is.Model, config.Source{FS: os.DirFS("/"), Dir: "."}, nil)
	if err != nil {
		return err
	}
	p.Use(plan)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	waitListening(p)
	if is.Direct {
		fmt.Println("ready", p.Listening().Port)
	} else {
		fmt.Println("ready", p.Listening().Why)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	stats, _ := json.Marshal(p.Stats())
	fmt.Println(string(stats))
	cancel()
	return <-done
}
