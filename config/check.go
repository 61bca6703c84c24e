package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// checker validates a model. Each noun has a check method in its own file; the
// small verbs that those use stand here. Fields are given by address, so that
// messages show where the field was written.
type checker struct {
	*run
	m     *Model
	noun  any // what is being checked: the place of complaints about absent fields
	names map[string]*roll
	pools map[string]*Pool
	hosts map[string]*VirtualServer
	probe map[string]*Probe

	gateway gateway
	farms   farms

	viewClients map[*View]map[netip.Prefix]bool // of the views checked so far
	viewsAt     map[netip.Prefix][]*View        // they by each prefix of theirs

	listed map[string]bool // of m.files
	asns   bool            // something may carry numbers of autonomous systems
}

// roll is the names of one kind of noun.
type roll struct {
	noun  string // "virtual server"
	list  []string
	at    map[string]*string // by the name
	lower map[string]string  // names in lower case: two that differ in case only confuse everyone (B.3)
}

func newChecker(r *run) *checker {
	c := &checker{run: r, m: r.model, noun: r.model, names: map[string]*roll{}, listed: map[string]bool{},
		pools: map[string]*Pool{}, hosts: map[string]*VirtualServer{}, probe: map[string]*Probe{}, gateway: newGateway(), farms: newFarms()}
	for _, f := range r.model.files {
		c.listed[f] = true
	}
	c.asns = len(c.m.Geo.Databases) > 0 || c.broken ||
		slices.ContainsFunc(c.m.ISPs, func(i *ISP) bool { return i.PrefixFile != "" })
	return c
}

// of makes noun the one that is being checked.
func (c *checker) of(noun any) { c.noun = noun }

// where gives the place of a field, or of the noun if the field was not
// written. It may be nil: the model itself has no place.
func (c *checker) where(field any) *place {
	if p := c.places[field]; p != nil {
		return p
	}
	return c.places[c.noun]
}

// given says whether a field was written.
func (c *checker) given(field any) bool { return c.places[field] != nil }

// bad complains about a field, unless an error was reported there already.
func (c *checker) bad(field any, format string, args ...any) {
	c.complain(field, "", false, fmt.Sprintf(format, args...))
}

// hinted is bad with a hint.
func (c *checker) hinted(field any, hint, format string, args ...any) {
	c.complain(field, hint, false, fmt.Sprintf(format, args...))
}

// warn is bad with a warning.
func (c *checker) warn(field any, format string, args ...any) {
	c.complain(field, "", true, fmt.Sprintf(format, args...))
}

func (c *checker) complain(field any, hint string, warning bool, text string) {
	e := &Error{Text: text, Hint: hint, Warning: warning}
	p := c.where(field)
	switch {
	case p == nil:
		c.log.add(c.files[0], e)
		return
	case p.bad:
		return
	case field != c.noun && c.given(field):
		p.bad = !warning
	}
	e.Pos, e.Path = p.pos(), p.path()
	c.log.add(p.file, e)
}

// need complains about a key that must be there.
func (c *checker) need(field any, key string) bool {
	if !c.given(field) {
		c.bad(field, "%s is missing", key)
		return false
	}
	return !c.places[field].bad
}

// empty complains about a text or list that was written but says nothing.
func (c *checker) empty(field any, size int) {
	if c.given(field) && size == 0 {
		c.bad(field, "is empty")
	}
}

// between bounds a number or a time, both ends included.
func between[T ~int | ~int64 | ~uint16 | ~uint32](c *checker, field *T, low, high T) {
	if *field < low || *field > high {
		c.bad(field, "%v is out of range %v to %v", *field, low, high)
	}
}

// oneOf complains unless exactly one of the keys is set.
func (c *checker) oneOf(noun any, set []bool, keys string) {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	if n != 1 {
		c.bad(noun, "exactly one of %s belongs here, not %d", keys, n)
	}
}

// declare enters a noun's name. Names are words: letters and digits of any
// script, and . _ - inside; they become row ids and arguments of commands.
func (c *checker) declare(noun string, name *string) {
	r := c.roll(noun)
	if *name == "" {
		c.need(name, "name")
		c.empty(name, 0)
		return
	}
	if !isName(*name) {
		c.bad(name, "%s is not a name: letters, digits and . _ - inside, at most 63, no address", quote(*name))
		return
	}
	low := strings.ToLower(*name)
	if other, ok := r.lower[low]; ok {
		c.bad(name, "%q is taken by the %s at %s", other, noun, c.where(r.at[other]).pos())
		return
	}
	r.lower[low], r.at[*name] = *name, name
	r.list = append(r.list, *name)
}

func (c *checker) roll(noun string) *roll {
	r := c.names[noun]
	if r == nil {
		r = &roll{noun: noun, at: map[string]*string{}, lower: map[string]string{}}
		c.names[noun] = r
	}
	return r
}

func isName(s string) bool {
	runes := []rune(s)
	plain := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	if len(runes) > 63 || !plain(runes[0]) || !plain(runes[len(runes)-1]) {
		return false
	}
	for _, r := range runes {
		if !plain(r) && !strings.ContainsRune("._-", r) {
			return false
		}
	}
	_, err := netip.ParseAddr(s)
	return err != nil
}

// refer complains about a name that nothing has. When a whole section could
// not be read it keeps quiet, for the name may well stand there.
func (c *checker) refer(noun string, ref *string) bool {
	r := c.roll(noun)
	if *ref == "" {
		c.empty(ref, 0)
		return false
	}
	if _, ok := r.at[*ref]; ok {
		return true
	}
	if c.broken {
		return false
	}
	hint := ""
	if len(c.log.errs) < 100 { // looking for the nearest of many names costs time
		hint = didYouMean(nearest(*ref, r.list))
	}
	if len(r.list) == 0 {
		c.hinted(ref, hint, "there is no %s %s; none is defined", noun, quote(*ref))
	} else {
		c.hinted(ref, hint, "there is no %s %s", noun, quote(*ref))
	}
	return false
}

// exists complains about a referenced file that is not there.
func (c *checker) exists(ref *string) {
	if *ref == "" {
		c.empty(ref, 0)
		return
	}
	if c.src.FS == nil {
		c.bad(ref, "%s: there is no file system to read from", c.src.Show(*ref))
		return
	}
	info, err := fs.Stat(c.src.FS, c.src.Path(*ref))
	switch {
	case err != nil:
		c.bad(ref, "%s: %s", c.src.Show(*ref), cannot("read", err))
	case info.IsDir():
		c.bad(ref, "%s: is a folder; a file belongs here", c.src.Show(*ref))
	case !info.Mode().IsRegular():
		c.bad(ref, "%s: cannot read it: %s", c.src.Show(*ref), errNotRegular)
	}
}

// depends notes a file of the last good bundle.
func (c *checker) depends(ref string) {
	if ref != "" && !c.listed[ref] {
		c.listed[ref] = true
		c.m.files = append(c.m.files, ref)
	}
}

// distinct complains about what stands in a list twice.
func distinct[T comparable](c *checker, list []T) {
	if len(list) < 2 {
		return
	}
	seen := make(map[T]bool, len(list))
	for i, v := range list {
		if seen[v] {
			c.bad(&list[i], "%v stands here twice", v)
		}
		seen[v] = true
	}
}

// endpoint complains about an address that no host answers from.
func (c *checker) endpoint(a *netip.Addr) {
	switch v := *a; {
	case !v.IsValid():
	case v.IsUnspecified():
		c.bad(a, "%s is no host's address", v)
	case v.IsMulticast():
		c.bad(a, "%s is a multicast address", v)
	case v == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		c.bad(a, "%s is the broadcast address", v)
	}
}
