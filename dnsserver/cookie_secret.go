package dnsserver

import (
	"crypto/rand"
	"sync/atomic"
	"time"
)

// cookieSecrets are the server secrets over time (RFC 9018 section 5). They
// are taken over from table to table. Any goroutine may use them.
type cookieSecrets struct {
	rotation time.Duration // of random secrets; 0: they come from a file
	current  atomic.Pointer[secretSet]
}

// secretSet is the secrets from one rotation to the next.
type secretSet struct {
	keys cookieKeys
	made time.Time
}

// randomSecrets makes secrets of this process alone.
func randomSecrets(rotation time.Duration, now time.Time) *cookieSecrets {
	s := &cookieSecrets{rotation: rotation}
	s.current.Store(&secretSet{keys: cookieKeys{randomKey()}, made: now})
	return s
}

func randomKey() cookieKey {
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails: the program ends first
	return makeCookieKey(secret)
}

// at gives the secrets of a moment. Whoever comes first after a rotation is due
// makes the next secret; the one before verifies for as long as the cookies
// that it has made live.
func (s *cookieSecrets) at(now time.Time) cookieKeys {
	set := s.current.Load()
	if s.rotation == 0 {
		return set.keys
	}
	age := now.Sub(set.made)
	switch {
	case age >= s.rotation:
		next := &secretSet{keys: cookieKeys{randomKey(), set.keys[0]}, made: now}
		if !s.current.CompareAndSwap(set, next) {
			next = s.current.Load()
		}
		return next.keys
	case age > cookieLife+cookieAhead:
		return set.keys[:1]
	}
	return set.keys
}

// cookies gives the secrets of a table: those of the table before while the
// configuration stays the same, so that a reload costs no client its cookie.
func (in *Inputs) cookies() *cookieSecrets {
	c, rotation := &in.Model.DNS.Cookies, time.Duration(in.Model.DNS.Cookies.Rotation)
	if !c.Enabled {
		return nil
	}
	if in.Before != nil && in.Before.cookies != nil && in.Before.cookies.rotation == rotation {
		return in.Before.cookies
	}
	return randomSecrets(rotation, time.Now())
}
