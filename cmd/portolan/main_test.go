package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/portolan-lb/portolan/nettest"
)

var update = flag.Bool("update", false, "rewrite the expected outputs in the scripts")

// TestMain lets the test's own program be portolan, for the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"portolan": main})
}

// TestScripts runs testdata/script. Each script starts in a folder with the
// files of testdata/base and has a target of its own for probes, $TARGET, and
// a free address for DNS, $DNS. Beside testscript's commands there are those
// of script_test.go.
func TestScripts(t *testing.T) {
	p := scriptParams()
	p.Dir = "testdata/script"
	testscript.Run(t, p)
}

// Those of the scripts that need root for what they are about.
func TestScripts_Root(t *testing.T) {
	nettest.NeedRoot(t)
	p := scriptParams()
	p.Files = []string{"testdata/script/gateway.txtar", "testdata/script/dnsproxy.txtar"}
	testscript.Run(t, p)
}

func scriptParams() testscript.Params {
	return testscript.Params{
		Setup: func(env *testscript.Env) error {
			return setUp(env, filepath.Join("testdata", "base"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ask": cmdAsk, "becomes": cmdBecomes, "until": cmdUntil, "wait-ready": cmdWaitReady,
			"exits": cmdExits, "says": cmdSays, "fill": cmdFill,
			"target-down": cmdTargetDown, "target-up": cmdTargetUp, "target-says": cmdTargetSays,
		},
		Condition: func(cond string) (bool, error) {
			if cond != "root" {
				return false, fmt.Errorf("there is no condition %q", cond)
			}
			return os.Geteuid() == 0, nil
		},
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	}
}

// A signal ends every command but serve and demo at once, whatever it waits
// for: here, a server that accepts and never answers.
func TestSignalEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cmd := exec.Command("portolan", "get", "pools", "--socket", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept() // now it waits
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var end *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &end) || end.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, not by the signal", err)
	}
}

var scripts atomic.Int32

// setUp makes the world of one script. Each has a loopback address of its own,
// so that scripts that run at once cannot take each other's ports.
func setUp(env *testscript.Env, base string) error {
	n := int(scripts.Add(1))
	host := fmt.Sprintf("127.77.%d.%d", n/250, n%250+1)
	target := &target{says: "200 OK"}
	if err := target.up(host + ":0"); err != nil {
		return err
	}
	env.Defer(target.down)
	dns, err := freePort(host)
	if err != nil {
		return err
	}
	env.Values[targetKey{}] = target
	env.Setenv("TARGET", target.address)
	env.Setenv("DNS", dns)
	env.Setenv("TZ", "UTC")
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command takes a second under -race
	env.Setenv("PORTOLAN_SOCKET", filepath.Join(env.WorkDir, "sock"))
	env.Setenv("PORTOLAN_STATE", filepath.Join(env.WorkDir, "state"))
	env.Setenv("PORTOLAN_CONFIG", filepath.Join(env.WorkDir, "portolan.yaml"))
	if err := os.CopyFS(env.WorkDir, os.DirFS(base)); err != nil {
		return err
	}
	return fill(filepath.Join(env.WorkDir, "portolan.yaml"), env.Getenv)
}

// fill puts $DNS, $TARGET and $WORK into a file.
func fill(name string, getenv func(string) string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var pairs []string
	for _, v := range []string{"DNS", "TARGET", "WORK"} {
		pairs = append(pairs, "$"+v, getenv(v))
	}
	return os.WriteFile(name, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o644)
}
