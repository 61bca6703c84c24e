package dnsproxy

import (
	"math/rand/v2"
	"os"
	"time"
)

// A UDP socket is used for one query at a time, and for few in all: one for each
// query costs a quarter more (56 us of processor time instead of 45, client and
// server included; BenchmarkForward), and a port that stays could be found out
// and then guessed at. Which of those that wait is used next is a matter of
// chance, and one that anything odd came by is not used again.
const (
	socketUses = 8           // queries
	socketAge  = time.Second // after it was opened: no scan of ports is that quick
	maxIdle    = 64          // sockets that wait, of one server and link
)

// udpConn is a socket to one server over one link.
type udpConn struct {
	*os.File
	born time.Time
	uses int
}

// socket gives a socket of a way: one that waits, or a new one.
func (l *learnt) socket(w way, now time.Time) (*udpConn, error) {
	l.mu.Lock()
	idle := l.idle[w]
	for len(idle) > 0 {
		i := rand.IntN(len(idle))
		c := idle[i]
		idle[i] = idle[len(idle)-1]
		idle = idle[:len(idle)-1]
		l.idle[w] = idle
		if now.Sub(c.born) < socketAge {
			l.mu.Unlock()
			return c, nil
		}
		c.Close()
	}
	l.mu.Unlock()
	f, err := dialUDP(w)
	return &udpConn{File: f, born: now}, err
}

// giveBack ends the use of a socket. clean says that it brought what it was
// to bring and nothing else.
func (l *learnt) giveBack(w way, c *udpConn, clean bool) {
	if c.uses++; clean && c.uses < socketUses {
		l.mu.Lock()
		if len(l.idle[w]) < maxIdle && (len(l.idle) < maxWays || l.idle[w] != nil) {
			l.idle[w] = append(l.idle[w], c)
			c = nil
		}
		l.mu.Unlock()
	}
	if c != nil {
		c.Close()
	}
}

// sweep closes the sockets that waited too long.
func (l *learnt) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w, idle := range l.idle {
		kept := idle[:0]
		for _, c := range idle {
			if now.Sub(c.born) < socketAge {
				kept = append(kept, c)
			} else {
				c.Close()
			}
		}
		clear(idle[len(kept):])
		if l.idle[w] = kept; len(kept) == 0 {
			delete(l.idle, w)
		}
	}
}
