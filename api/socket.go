package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listen opens the socket, mode 0660. It is bound under another name and then
// renamed, so that it never stands there with another mode.
func Listen(socket string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", socket, time.Second); err == nil {
		return nil, errors.Join(fmt.Errorf("api socket %s: another portolan answers on it", socket), c.Close())
	}
	bound := socket + ".new"
	if err := os.Remove(bound); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("api socket %s: %w", socket, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: bound, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("api socket %s: %w", socket, err)
	}
	l.SetUnlinkOnClose(false) // by then its name is another
	if err := errors.Join(os.Chmod(bound, socketMode), os.Rename(bound, socket)); err != nil {
		return nil, errors.Join(fmt.Errorf("api socket %s: %w", socket, err), l.Close(), os.Remove(bound))
	}
	return &socketListener{l, socket}, nil
}

// socketListener takes its socket away when it closes.
type socketListener struct {
	*net.UnixListener
	name string
}

func (l *socketListener) Close() error {
	err := l.UnixListener.Close()
	if err == nil {
		err = os.Remove(l.name)
	}
	return err
}

// limited lets only so many connections be open at once; the rest wait in the
// kernel's queue. Unlike netutil's its connections can be unwrapped, which the
// look for the peer's credentials needs.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// peerKey is where a connection's context keeps who is at the other end.
type peerKey struct{}

// withPeer asks the kernel who opened a connection.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if l, ok := c.(*limitedConn); ok {
		c = l.Conn
	}
	conn, ok := c.(syscall.Conn)
	if !ok {
		return ctx
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || failed != nil {
		return ctx // then the user is "unknown"
	}
	return context.WithValue(ctx, peerKey{}, cred)
}

// who names the user that made a request.
func who(ctx context.Context) string {
	cred, ok := ctx.Value(peerKey{}).(*unix.Ucred)
	if !ok {
		return "unknown"
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return "uid " + uid
}
