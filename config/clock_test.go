package config

import (
	"syscall"
	"testing"
	"time"
)

// cpu gives the processor time that f takes, which other work on the machine
// does not change much.
func cpu(t *testing.T, f func()) time.Duration {
	t.Helper()
	begin := used(t)
	f()
	return used(t) - begin
}

func used(t *testing.T) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// best is the least processor time of three runs, to be held against limit.
// The race detector makes everything some twenty times slower.
func best(t *testing.T, f func()) time.Duration {
	t.Helper()
	least := cpu(t, f)
	for range 2 {
		least = min(least, cpu(t, f))
	}
	if raceDetector {
		least /= 20
	}
	return least
}
