package dnsproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/probe"
)

// inSpace is what a proxy in a process of its own is made of: it opens sockets as
// long as it lives, so all of it has to live in the namespace.
type inSpace struct {
	Model *config.Model
	Pins  map[string]probe.Pin // by link
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
	p := New(Options{Way: func(link string) (probe.Pin, bool) { pin, ok := is.Pins[link]; return pin, ok }})
	plan, err := Compile(is.Model, config.Source{FS: os.DirFS("/"), Dir: "."}, nil)
	if err != nil {
		return err
	}
	p.Use(plan)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	waitListening(p)
	fmt.Println("ready", p.Listening().Why)
	_, _ = io.Copy(io.Discard, os.Stdin)
	stats, _ := json.Marshal(p.Stats())
	fmt.Println(string(stats))
	cancel()
	return <-done
}
