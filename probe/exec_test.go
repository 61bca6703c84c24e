package probe

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
)

func TestExec(t *testing.T) {
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script} }
	for _, c := range []struct {
		name    string
		command []string
		timeout config.Duration
		outcome Outcome
		saw     string
	}{
		{"exit 0", sh("echo fine; echo more"), 0, Pass, "exit status 0: fine"},
		{"no output", []string{"true"}, 0, Pass, "exit status 0"},
		{"exit 2", sh("echo disk is full >&2; exit 2"), 0, Fail, "exit status 2: disk is full"},
		{"host and port", []string{"echo", "%h/%p", "x%hx"}, 0, Pass, "exit status 0: 127.0.0.1/8080 x127.0.0.1x"},
		{"no shell", []string{"echo", "$HOME;", "`id`"}, 0, Pass, "exit status 0: \\$HOME; `id`"},
		{"no environment", sh(`echo "$SECRET_OF_OURS|$LC_ALL"`), 0, Pass, `exit status 0: \|C`},
		{"too long", []string{"sleep", "60"}, 50 * ms, Fail, "sleep did not end within 50ms and was killed"},
		{"much output", sh("yes | head -c 1000000"), 0, Pass, "exit status 0: y"},
		{"no program", []string{"/nowhere/check"}, 0, Void, "cannot run /nowhere/check: no such file or directory"},
		{"no command", nil, 0, Void, "no command to run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("SECRET_OF_OURS", "x")
			want(t, probeOnce(t, "127.0.0.1:8080", config.Probe{Kind: "exec", Command: c.command, Timeout: c.timeout}), c.outcome, c.saw)
		})
	}
}

// A program's children end with it, whether it is killed at its timeout or
// ends and leaves them behind.
func TestExecKillsTheGroup(t *testing.T) {
	for name, script := range map[string]string{
		"at the timeout": "sleep 60 & echo $! >%s; wait",
		"left behind":    "sleep 60 & echo $! >%s",
		"after failing":  "sleep 60 & echo $! >%s; exit 1",
		"without pipes":  "sleep 60 >/dev/null 2>&1 </dev/null & echo $! >%s",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			script := strings.Replace(script, "%s", file, 1)
			probeOnce(t, "127.0.0.1", config.Probe{Kind: "exec", Command: []string{"/bin/sh", "-c", script}, Timeout: 500 * ms})
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			waitGone(t, pid)
		})
	}
}

// waitGone waits until a process is gone or a zombie, which only init can take.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 400 {
		stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || strings.Contains(string(stat), ") Z ") {
			return
		}
		<-tick.C
	}
	t.Errorf("process %d lives on", pid)
}
