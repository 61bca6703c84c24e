package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// groups are the notifications that matter to [Reader.Interfaces]. Next hops are
// there because a change of one changes routes that are not told again.
const groups = 1<<(unix.RTNLGRP_LINK-1) |
	1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) |
	1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1) |
	1<<(unix.RTNLGRP_NEXTHOP-1)

// watchBuffer is how much may wait to be read. More is lost, which is noticed.
const watchBuffer = 1 << 20

// subscribe opens a socket for notifications in the thread's namespace.
func subscribe() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	// Forced needs a privilege; without it we get what the machine allows.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, watchBuffer)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd) // the other error is told
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink notifications"), nil
}

// Watch calls changed whenever something may have changed that
// [Reader.Interfaces] tells: an interface, an address, a default route. It may be
// called for nothing, and once for many changes; it is called as well when
// notifications were lost. Watch returns nil when ctx ends. Of several calls
// at a time the later ones wait.
func (r *Reader) Watch(ctx context.Context, changed func()) error {
	r.watching.Lock()
	defer r.watching.Unlock()
	conn, err := r.changes.SyscallConn()
	if err != nil {
		return fmt.Errorf("netlink notifications: %w", err)
	}
	if err := r.changes.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("netlink notifications: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = r.changes.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed, which is as good
	})
	defer stop()
	for buf := make([]byte, 1<<16); ; {
		n, from, err := receive(conn.Read, buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			changed() // the kernel dropped some; the socket goes on
		case errors.Is(err, os.ErrDeadlineExceeded): // of a watch before us, late
			if err := r.changes.SetReadDeadline(time.Time{}); err != nil {
				return fmt.Errorf("netlink notifications: %w", err)
			}
		case err != nil:
			return fmt.Errorf("netlink notifications: %w", err)
		case from == 0 && anyMatters(buf[:n]): // from the kernel: processes may send here too
			changed()
		}
	}
}

// receive reads one datagram and says which port it came from.
func receive(read func(func(fd uintptr) bool) error, buf []byte) (n int, from uint32, err error) {
	var inner error
	err = read(func(fd uintptr) bool {
		var sender unix.Sockaddr
		n, sender, inner = unix.Recvfrom(int(fd), buf, 0)
		if s, ok := sender.(*unix.SockaddrNetlink); ok {
			from = s.Pid
		}
		return inner != unix.EAGAIN
	})
	if err == nil {
		err = inner
	}
	return n, from, err
}
