package dnsserver

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// cookieSecrets are the server secrets over time (RFC 9018 section 5). They
// are taken over from table to table. Any goroutine may use them.
type cookieSecrets struct {
	rotation time.Duration              // of random secrets; 0: they come from a file
	current  *atomic.Pointer[secretSet] // shared by tables that differ in the rotation alone
}

// secretSet is the secrets from one rotation to the next.
type secretSet struct {
	keys cookieKeys
	made time.Time
}

// randomSecrets makes secrets of this process alone.
func randomSecrets(rotation time.Duration, now time.Time) *cookieSecrets {
	return makeSecrets(rotation, &secretSet{keys: cookieKeys{randomKey()}, made: now})
}

func makeSecrets(rotation time.Duration, set *secretSet) *cookieSecrets {
	s := &cookieSecrets{rotation: rotation, current: new(atomic.Pointer[secretSet])}
	s.current.Store(set)
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

// cookies gives the secrets of a table, or nil where cookies are off. Random
// ones are those of the table before, whatever the rotation, so that a reload
// costs no client its cookie; a file is read each time, and a bad one is an
// error.
func (in *Inputs) cookies() (*cookieSecrets, config.Errors) {
	c, rotation := &in.Model.DNS.Cookies, time.Duration(in.Model.DNS.Cookies.Rotation)
	switch {
	case !c.Enabled:
		return nil, nil
	case c.SecretFile != "":
		return fileSecrets(in.Source, c.SecretFile)
	case in.Before != nil && in.Before.cookies != nil && in.Before.cookies.rotation > 0:
		return &cookieSecrets{rotation: rotation, current: in.Before.cookies.current}, nil
	}
	return randomSecrets(rotation, time.Now()), nil
}

const (
	maxSecretFile = 64 << 10
	maxSecrets    = 8 // each one may cost every forged cookie a hash
)

// fileSecrets reads secrets that several servers share. The first one signs, all
// of them verify, so that a new one can be brought to all servers before it
// signs on any (RFC 9018 section 5).
func fileSecrets(src config.Source, ref string) (*cookieSecrets, config.Errors) {
	shown := src.Show(ref)
	data, err := readFile(src, ref, maxSecretFile)
	if errors.Is(err, errFileSize) {
		err = fmt.Errorf("%w than %d bytes", err, maxSecretFile)
	}
	if err != nil {
		return nil, config.Errors{{Pos: config.Pos{File: shown}, Text: "reading cookie secrets: " + err.Error()}}
	}
	keys, errs := parseSecrets(shown, string(data))
	if info, err := fs.Stat(src.FS, src.Path(ref)); err == nil && info.Mode().Perm()&0o004 != 0 {
		errs = append(errs, &config.Error{Pos: config.Pos{File: shown}, Warning: true,
			Text: fmt.Sprintf("every user of this host can read the cookie secrets (mode %04o): chmod o= %s", info.Mode().Perm(), shown)})
	}
	if errs.Failed() {
		return nil, errs
	}
	return makeSecrets(0, &secretSet{keys: keys}), errs
}

// parseSecrets reads 32 hexadecimal digits a line. A # starts a comment; empty
// lines do not count. What stands on a line never gets into a message.
func parseSecrets(shown, text string) (keys cookieKeys, errs config.Errors) {
	bad := func(line int, format string, args ...any) {
		errs = append(errs, &config.Error{Pos: config.Pos{File: shown, Line: line}, Text: fmt.Sprintf(format, args...)})
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		secret, err := hex.DecodeString(line)
		switch {
		case err != nil || len(secret) != 16:
			bad(n, "a cookie secret is 32 hexadecimal digits, as openssl rand -hex 16 prints them; this line has %d characters", len(line))
		case len(keys) == maxSecrets:
			bad(n, "more than %d cookie secrets: two are enough to change from one to the next", maxSecrets)
			return nil, errs
		case slices.Contains(keys, makeCookieKey([16]byte(secret))):
			bad(n, "this cookie secret stands above already")
		default:
			keys = append(keys, makeCookieKey([16]byte(secret)))
		}
	}
	if len(keys) == 0 && len(errs) == 0 {
		bad(0, "cookie secret file holds no secret")
	}
	return keys, errs
}
