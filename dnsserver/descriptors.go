package dnsserver

import (
	"os"

	"golang.org/x/sys/unix"
)

// spareDescriptors are left to the API, to files that are read, and to
// whatever else a process opens now and then.
const spareDescriptors = 16

// leastConnections are served over TCP however few descriptors there are.
const leastConnections = 4

// descriptorsLeft gives how many TCP connections the process can have: 80 % of
// the descriptors that it may open (RLIMIT_NOFILE, which Go has raised as far as
// it can), without those that are open now beside connections, and those that
// others need at worst. Others get no more than half: who has that many probes
// needs a higher limit, and is told so.
func descriptorsLeft(connections, others int) int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return leastConnections
	}
	open := 0
	if list, err := os.ReadDir("/proc/self/fd"); err == nil {
		open = len(list) - connections
	}
	most := int(min(l.Cur, 1<<30)) * 4 / 5
	return max(most-open-min(others, most/2)-spareDescriptors, leastConnections)
}

// reserve is a descriptor that is kept for the moment when there is no other.
// One goroutine owns it.
type reserve struct{ fd int }

// held says whether the descriptor is there to be given up.
func (r *reserve) held() bool { return r.fd > 0 }

// take gets the descriptor, and says whether it is held now.
func (r *reserve) take() bool {
	if r.fd <= 0 {
		r.fd, _ = unix.Eventfd(0, unix.EFD_CLOEXEC) // -1 without descriptors
	}
	return r.held()
}

// drop gives the descriptor up.
func (r *reserve) drop() {
	if r.held() {
		_ = unix.Close(r.fd)
	}
	r.fd = 0
}
