package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// kernel show tells what is ours, clean removes that and nothing else, and with
// --dry-run nothing.
func TestKernelClean_Root(t *testing.T) {
	s := nettest.New(t)
	t.Setenv("PORTOLAN_SOCKET", filepath.Join(t.TempDir(), "sock"))
	s.IP("rule add pref 1001 fwmark 0x1/0x3ff lookup 1001 proto 80")
	s.IP("rule add pref 1002 fwmark 0x2/0x3ff lookup 1002")
	s.IP("route add unreachable default table 1001 proto 80")
	var out []byte
	var err error
	s.Do(func() {
		out, err = exec.CommandContext(t.Context(), "nft", "add table inet portolan_outbound; add table inet other").CombinedOutput()
	})
	if err != nil {
		nettest.Missing(t, "nft: %v: %s", err, out)
	}
	portolan := func(want string, args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		var code int
		s.Do(func() { code = run(t.Context(), args, &stdout, &stderr) })
		if code != 0 || stdout.String() != want || stderr.Len() > 0 {
			t.Errorf("%v: exit code %d, %s%s, want %s", args, code, &stdout, &stderr, want)
		}
	}
	const (
		table = "table inet portolan_outbound\n"
		rule  = "rule -4 pref 1001 fwmark 0x1/0x3ff lookup 1001\n"
		route = "route -4 unreachable default table 1001\n"
	)
	portolan(table+rule+route, "kernel", "show")
	portolan("would remove "+table+"would remove "+rule+"would remove "+route, "kernel", "clean", "--dry-run")
	portolan("removed "+table+"removed "+rule+"removed "+route, "kernel", "clean")
	portolan("", "kernel", "show")
	s.Do(func() { out, err = exec.CommandContext(t.Context(), "nft", "list", "tables").CombinedOutput() })
	if err != nil || strings.TrimSpace(string(out)) != "table inet other" {
		t.Errorf("tables left: %s %v", out, err)
	}
	s.Do(func() {
		out, err = exec.CommandContext(t.Context(), "ip", "rule", "show", "table", "1002").CombinedOutput()
	})
	if err != nil || !strings.Contains(string(out), "1002:") {
		t.Errorf("rules left: %s %v", out, err)
	}
}
