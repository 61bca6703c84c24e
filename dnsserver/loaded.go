package dnsserver

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// Where a zone of a table comes from.
const (
	OriginConfiguration = "configuration" // a zone that the configuration names
	OriginFolder        = "folder"        // a file of a folder of zones
	OriginLive          = "live"          // given by command while serving
)

// Loaded is a zone that no configuration names, ready to be put into tables.
// It is immutable and may be in many tables at once.
type Loaded struct{ served *served }

// Name gives the apex, canonical.
func (l *Loaded) Name() string { return l.served.state.Name }

// State tells how the zone stands.
func (l *Loaded) State() ZoneState { return l.served.state }

// Zone gives the records, or nil if there are none to serve.
func (l *Loaded) Zone() *Zone { return l.served.zone }

// ZoneName gives the one spelling of a zone's name that tables use. Any domain
// name will do (RFC 2181 section 11), in the form that master files have.
func ZoneName(text string) (string, error) {
	if _, ok := dns.IsDomainName(text); !ok || text == "" {
		return "", fmt.Errorf("%q is not a domain name", text)
	}
	name := canonical(text)
	if _, err := dns.PackDomainName(name, make([]byte, maxName+1), 0, nil, false); err != nil || !dns.IsFqdn(name) {
		return "", fmt.Errorf("%q is not a domain name", text) // such as one that ends inside an escape
	}
	if strings.HasPrefix(name, "*.") || name == "*" {
		return "", fmt.Errorf("%q is a wildcard; a zone has a name", text)
	}
	return name, nil
}

// ParseText reads a zone that comes by itself: the text of a master file as in
// [ParseZone], but without $INCLUDE, for there is no folder to read from. The
// apex is canonical; shown is how messages name the text. Every error and
// warning is reported; the zone is nil if any is an error.
func ParseText(apex, shown string, text []byte, limits config.ZoneLimits) (*Loaded, config.Errors) {
	l := &loader{alone: true, limits: limits, zone: &records{apex: apex, nodes: map[string]*node{}}, wire: make([]byte, math.MaxUint16+512)}
	l.zone.files = []zoneFile{{ref: shown, shown: l.src.Show(shown), sum: sha256.Sum256(text)}}
	l.open = []string{shown}
	if int64(len(text)) > int64(limits.FileSize) {
		l.exceeds(limitZoneFileSize)
		l.errorf(config.Pos{File: l.src.Show(shown)}, "it is larger than %s", limits.FileSize)
		return nil, l.errs
	}
	newReader(l, shown, 0, text, setting{origin: apex, ttl: noTTL}).read()
	l.finish()
	l.check()
	if l.errs.Failed() {
		return nil, l.errs
	}
	z := loaded(&Zone{records: l.zone}, l.errs, time.Now())
	return z, z.served.zone.warnings
}

// loaded makes a zone of its records and what was found while they were read.
func loaded(z *Zone, errs config.Errors, at time.Time) *Loaded {
	z.warnings = append(errs, z.checkDoubts(true)...)
	state := ZoneState{Name: z.apex, Serial: z.Serial(), Records: z.Records(), Loaded: at}
	return &Loaded{&served{zone: z, state: state, count: &zoneTally{}}}
}

// Bad is a zone that has no good version: it is answered SERVFAIL.
func Bad(apex, file, origin string, why error) *Loaded {
	state := ZoneState{Name: apex, File: file, Origin: origin, Missing: true, Error: why.Error()}
	return &Loaded{&served{state: state, count: &zoneTally{}}}
}

// At gives the zone as one that stands in a file. Messages, explain's too, name
// the file from then on. It must not be in a table yet.
func (l *Loaded) At(file, shown, origin string) *Loaded {
	z := *l.served
	z.state.File, z.state.Origin = file, origin
	z.zone.files[0].ref, z.zone.files[0].shown = file, shown
	return &Loaded{&z}
}

// SerialWarning says what is odd about the serial of a new version of a zone
// (RFC 1982): servers that copy the zone, and people, go by it. It is empty if
// all is well.
func (l *Loaded) SerialWarning(before *Zone) string {
	z := l.served.zone
	if z == nil || before == nil || z.records == before.records {
		return ""
	}
	switch was, is := before.Serial(), z.Serial(); {
	case is == was && z.files[0].sum != before.files[0].sum:
		return fmt.Sprintf("zone %s has changed and its serial %d has not", z.apex, is)
	case int32(is-was) < 0:
		return fmt.Sprintf("the serial of zone %s goes back from %d to %d", z.apex, was, is)
	}
	return ""
}

// With gives a table that has a zone too, or in the place of the one with its
// apex, and shares everything else with this one.
func (t *Table) With(z *Loaded) *Table {
	next := *t
	next.met = [limits]uint64{} // counted already
	return next.serve(t.zones.with(z.following(t)))
}

// Without gives a table without the zone of an apex, which shares everything
// else with this one.
func (t *Table) Without(apex string) *Table {
	next := *t
	next.met = [limits]uint64{}
	return next.serve(t.zones.without(apex))
}

// WithAll gives a table that has these zones too. A zone that the table has
// already stays; those of the list that gave way come back. Before, which may
// be nil, is the table that this one follows, and errs is what was found while
// the zones were read: limits that they exceeded are counted.
func (t *Table) WithAll(zones []*Loaded, before *Table, errs config.Errors) (next *Table, gaveWay []*Loaded) {
	list := make([]*served, 0, t.zones.size+len(zones))
	for z := range t.zones.all() {
		list = append(list, z)
	}
	for _, z := range zones {
		if t.zones.get(z.Name()) != nil {
			gaveWay = append(gaveWay, z)
			continue
		}
		list = append(list, z.following(before))
	}
	n := *t
	for l, times := range exceeded(errs) {
		n.met[l] += times
	}
	return n.serve(zonesOf(list)), gaveWay
}

// following gives the zone with the counters of the version that a table
// serves, which may be nil.
func (l *Loaded) following(t *Table) *served {
	if t == nil {
		return l.served
	}
	was := t.zones.get(l.Name())
	if was == nil || was.count == l.served.count {
		return l.served
	}
	z := *l.served
	z.count = was.count
	return &z
}

// State tells how a zone stands; false if the table does not have it.
func (t *Table) State(apex string) (ZoneState, bool) {
	if z := t.zones.get(apex); z != nil {
		return z.state, true
	}
	return ZoneState{}, false
}

// Size is how many zones the table has, bad ones included.
func (t *Table) Size() int { return t.size() }
