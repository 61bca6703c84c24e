package probe

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxOutput = 4 << 10                // bytes of a program's output that are kept
	pipeGrace = 100 * time.Millisecond // for those who left its group with its pipes
)

// probeExec runs a program without a shell: %h and %p in its arguments become
// the target's address and port (0 if it has none). Exit status 0 passes; the
// first line of its output is the evidence. However it ends, its whole process
// group ends with it, so that no interval leaves a child behind; one that makes
// a session of its own is on its own. It sees no environment but PATH, LC_ALL=C
// and what ties it to a link, each if it is set, for it opens its own sockets:
// PORTOLAN_SOURCE (address), PORTOLAN_DEVICE (interface), PORTOLAN_MARK (a
// decimal number).
func probeExec(ctx context.Context, t *Task) Result {
	if len(t.Probe.Command) == 0 {
		return t.void("no command to run")
	}
	args := t.arguments()
	var out output
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = t.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeGrace
	if err := cmd.Start(); err != nil {
		return t.void("cannot run %s: %s", args[0], plain(err))
	}
	killGroup(cmd.Process.Pid)
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; a session of its own holds the pipes
	}
	switch {
	case ctx.Err() != nil:
		return t.fail("%s did not end within %s and was killed", args[0], time.Duration(t.Probe.Timeout))
	case err != nil:
		return t.fail("%s%s", err, out.evidence())
	default:
		return t.pass("exit status 0%s", out.evidence())
	}
}

// killGroup waits until the program pid has ended and kills what it left of
// its process group. It does so before the program is reaped: until then no
// stranger can be given its number.
func killGroup(pid int) {
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		err = unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	if err == nil {
		// An error means that there is nobody left.
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
}

func (t *Task) arguments() []string {
	r := strings.NewReplacer("%h", t.Target.Addr().String(), "%p", strconv.Itoa(int(t.Target.Port())))
	args := make([]string, len(t.Probe.Command))
	for i, a := range t.Probe.Command {
		args[i] = r.Replace(a)
	}
	return args
}

func (t *Task) environment() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	if t.Pin.Source.IsValid() {
		env = append(env, "PORTOLAN_SOURCE="+t.Pin.Source.String())
	}
	if t.Pin.Device != "" {
		env = append(env, "PORTOLAN_DEVICE="+t.Pin.Device)
	}
	if t.Pin.Mark != 0 {
		env = append(env, "PORTOLAN_MARK="+strconv.FormatUint(uint64(t.Pin.Mark), 10))
	}
	return env
}

// output keeps the first bytes that are written to it.
type output struct{ buf []byte }

func (o *output) Write(b []byte) (int, error) {
	o.buf = append(o.buf, b[:min(len(b), maxOutput-len(o.buf))]...)
	return len(b), nil
}

// evidence is ": " and the first line, or nothing if nothing was said.
func (o *output) evidence() string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(o.buf), []byte("\n"))
	if len(line) == 0 {
		return ""
	}
	return ": " + string(line)
}
