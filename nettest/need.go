package nettest

import (
	"os"
	"strings"
	"testing"
)

// NeedRoot skips a test without root; under PORTOLAN_CI=1 it fails it, so that
// a test that never runs is noticed. So is one that make e2e would not find.
func NeedRoot(t testing.TB) {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	if !strings.HasSuffix(name, "_Root") {
		t.Fatal("needs root, so its name has to end in _Root")
	}
	if os.Geteuid() != 0 {
		Missing(t, "needs root: run make e2e as root")
	}
}

// Missing skips a test for want of something that it needs, a capability or a
// tool; under PORTOLAN_CI=1 it fails it. It does not return.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("PORTOLAN_CI") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
