package dnsserver

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

const (
	maxTTL        = 1<<31 - 1   // RFC 2181 section 8
	maxZoneErrors = 1000        // reported; the rest is only counted
	noTTL         = int64(-1)   // no $TTL yet
	firstMetaType = uint16(128) // 128 to 255 are questions, not data (RFC 6895 3.1)
)

// ParseZone reads the master file of a zone (RFC 1035 section 5) and all that
// it includes, and checks the zone as a whole. Every error and warning of the
// run is reported at its file:line:col. The zone is nil if any is an error;
// its names are not yet bound to pools.
//
// $ORIGIN, $TTL (RFC 2308), $INCLUDE and $GENERATE are understood; types that
// have no name are written as RFC 3597 says. An include is relative to the
// file that it stands in and has to stay inside the folder of the zone's file,
// symbolic links followed.
func ParseZone(src config.Source, c *config.Zone) (*Zone, config.Errors) {
	zone, errs := loadZone(src, c)
	if errs.Failed() {
		return nil, errs
	}
	zone.warnings = errs
	return zone, errs
}

// loadZone is ParseZone for those who want what can be had of a zone with
// errors.
func loadZone(src config.Source, c *config.Zone) (*Zone, config.Errors) {
	l := &loader{
		src: src, folder: path.Dir(c.File), decl: c.Pos,
		limits: zoneLimits(c),
		zone:   &records{apex: canonical(c.Name), nodes: map[string]*node{}},
		wire:   make([]byte, math.MaxUint16+512),
	}
	l.include(c.File, c.Pos, setting{origin: l.zone.apex, ttl: noTTL})
	l.finish()
	if len(l.zone.files) > 0 { // of what could not be read nothing is missing
		l.check()
	}
	return &Zone{records: l.zone}, l.errs
}

// zoneLimits gives the bounds that a zone's files are read under.
func zoneLimits(c *config.Zone) config.ZoneLimits {
	if c.Limits != nil {
		return *c.Limits
	}
	return config.DefaultLimits().Zone
}

// loader holds what is known while a zone is read.
type loader struct {
	src    config.Source
	folder string     // the zone's folder: includes stay inside
	decl   config.Pos // where the configuration names the zone
	limits config.ZoneLimits
	zone   *records
	open   []string // files that are being read, outermost first
	errs   config.Errors
	errors int    // reported so far
	warns  int    // reported so far
	made   int    // records of $GENERATE so far
	full   bool   // no more records are taken
	beyond string // key of the limit that the next error is about
	wire   []byte // scratch for packing
	alone  bool   // the text comes by itself: there is nothing to include from
	apex   apexSearch
	last   string // owner of the record before, and its node: files are mostly sorted
	lastOf *node
}

// setting is what directives set for the lines after them.
type setting struct {
	origin string
	ttl    int64 // of $TTL, or noTTL
}

// include reads one file.
func (l *loader) include(ref string, from config.Pos, in setting) {
	data, err := readFile(l.src, ref, l.limits.FileSize)
	if err != nil {
		if errors.Is(err, errFileSize) {
			l.exceeds(limitZoneFileSize)
			err = fmt.Errorf("%w than %s", err, l.limits.FileSize)
		}
		l.errorf(from, "zone %s: cannot read %s: %v", l.zone.apex, l.src.Show(ref), reason(err))
		return
	}
	l.zone.files = append(l.zone.files, zoneFile{ref: ref, shown: l.src.Show(ref), sum: sha256.Sum256(data)})
	l.open = append(l.open, ref)
	newReader(l, ref, uint16(len(l.zone.files)-1), data, in).read()
	l.open = l.open[:len(l.open)-1]
}

const errFileSize = constError("it is larger")

// readFile reads a file whole, and no further than the octets that it may have.
func readFile(src config.Source, ref string, most config.Size) ([]byte, error) {
	f, err := src.Open(ref)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var data bytes.Buffer
	if st, err := f.Stat(); err == nil { // only to take the memory at once
		data.Grow(int(min(st.Size(), int64(most))) + bytes.MinRead)
	}
	n, err := data.ReadFrom(io.LimitReader(f, int64(most)+1))
	if err == nil && n > int64(most) {
		err = errFileSize
	}
	return data.Bytes(), err
}

// mayInclude says why a file must not be included, or nothing.
func (l *loader) mayInclude(ref string) (target, text string) {
	if l.alone {
		return "", fmt.Sprintf("$INCLUDE %s: a zone given by command has no folder to include from; write its records here", ref)
	}
	if path.IsAbs(ref) {
		return "", fmt.Sprintf("$INCLUDE %s: an absolute path; write it relative to this file", ref)
	}
	target = path.Join(path.Dir(l.open[len(l.open)-1]), ref)
	inside := l.folder == "." && target != ".." && !strings.HasPrefix(target, "../") ||
		strings.HasPrefix(target, strings.TrimSuffix(l.folder, "/")+"/")
	fault := ""
	if inside {
		fault = outside(l.src, target, l.folder)
	}
	switch {
	case !inside:
		return "", fmt.Sprintf("$INCLUDE %s: leaves the zone's folder %s", ref, l.src.Show(l.folder))
	case fault != "":
		return "", fmt.Sprintf("$INCLUDE %s: %s", ref, fault)
	case slices.Contains(l.open, target):
		return "", fmt.Sprintf("$INCLUDE %s: the file includes itself (%s)", ref, strings.Join(append(l.open, target), " -> "))
	case len(l.open) >= l.limits.IncludeDepth:
		l.exceeds(limitZoneIncludeDepth)
		return "", fmt.Sprintf("$INCLUDE %s: more than %d files inside each other", ref, l.limits.IncludeDepth)
	case len(l.zone.files) >= l.limits.Includes:
		l.exceeds(limitZoneIncludes)
		return "", fmt.Sprintf("$INCLUDE %s: more than %d files in one zone", ref, l.limits.Includes)
	}
	return target, ""
}

// add puts a record into the zone.
func (l *loader) add(rr dns.RR, file uint16, at config.Pos) {
	if l.full {
		return // said already
	}
	h := rr.Header()
	h.Name = spelled(h.Name) // or "a@b" and "a\@b" would not be found to be the same
	l.settleApex(rr)
	size, text := l.mayAdd(rr)
	if text != "" {
		l.errorf(at, "%s", text)
		return
	}
	if h.Ttl > maxTTL {
		l.warnf(at, "TTL %d is larger than %d and means 0 (RFC 2181 section 8)", h.Ttl, maxTTL)
		h.Ttl = 0
	}
	n := l.nodeFor(h.Name)
	set := n.get(h.Rrtype)
	if set == nil {
		n.sets = append(n.sets, rrset{rtype: h.Rrtype, file: file, line: uint32(at.Line)})
		set = &n.sets[len(n.sets)-1]
	}
	if set.size > uint32(l.limits.SetSize) {
		return // said already
	}
	if slices.ContainsFunc(set.rrs, func(o dns.RR) bool { return dns.IsDuplicate(o, rr) }) {
		l.warnf(at, "%s %s is there twice", h.Name, dns.Type(h.Rrtype))
		return
	}
	if set.size += uint32(size); set.size > uint32(l.limits.SetSize) {
		l.exceeds(limitZoneSetSize)
		l.errorf(at, "%s has more %s records than %d octets of a message hold", h.Name, dns.Type(h.Rrtype), l.limits.SetSize)
		return
	}
	set.least += leastSize(rr)
	l.sameTTL(set, rr, at)
	set.rrs = append(set.rrs, rr)
	l.zone.count++
}

// mayAdd says why a record cannot be in this zone, or nothing. The size is on
// the wire.
func (l *loader) mayAdd(rr dns.RR) (size int, text string) {
	h := rr.Header()
	switch {
	case h.Class != dns.ClassINET:
		return 0, fmt.Sprintf("class %s; only IN is served", dns.Class(h.Class))
	case h.Rrtype == dns.TypeOPT || h.Rrtype == 0 || h.Rrtype >= firstMetaType && h.Rrtype <= dns.TypeANY:
		return 0, fmt.Sprintf("type %s cannot be in a zone", dns.Type(h.Rrtype))
	case !dns.IsSubDomain(l.zone.apex, canonical(h.Name)):
		return 0, fmt.Sprintf("%s is not in zone %s", h.Name, l.zone.apex)
	case l.zone.count >= l.limits.Records:
		l.exceeds(limitZoneRecords)
		l.full = true
		return 0, fmt.Sprintf("zone %s has more than %d records", l.zone.apex, l.limits.Records)
	}
	size, err := dns.PackRR(rr, l.wire, 0, nil, false)
	if err != nil {
		return 0, fmt.Sprintf("%s %s: %s", h.Name, dns.Type(h.Rrtype), strings.TrimPrefix(err.Error(), "dns: "))
	}
	if h.Rdlength == 0 && !mayBeEmpty(rr) {
		return 0, fmt.Sprintf("%s %s has no data", h.Name, dns.Type(h.Rrtype))
	}
	if size > maxName { // only then can a name in it be too long, which packing does not see
		if _, _, err := dns.UnpackRR(l.wire[:size], 0); err != nil {
			return 0, fmt.Sprintf("%.60s... %s: %s", h.Name, dns.Type(h.Rrtype), strings.TrimPrefix(err.Error(), "dns: "))
		}
	}
	return size, ""
}

// leastSize gives the octets that a packed record has at least in a reply: its
// owner is a pointer, and so may be the names in data of RFC 1035's types. Of
// services the hints may go.
func leastSize(rr dns.RR) uint32 {
	const pointer, fixed = 2, 10
	h := rr.Header()
	named := h.Rrtype > dns.TypeA && h.Rrtype <= dns.TypeMX
	if named || service(rr) != nil {
		return pointer + fixed
	}
	return pointer + fixed + uint32(h.Rdlength)
}

// mayBeEmpty tells the types whose RDATA may have no octets. The parser takes
// an empty line for a dynamic update and gives a record without data.
func mayBeEmpty(rr dns.RR) bool {
	switch rr.(type) {
	case *dns.APL, *dns.NULL, *dns.RFC3597:
		return true
	}
	return false
}

// sameTTL holds a set to one TTL, the lowest (RFC 2181 5.2).
func (l *loader) sameTTL(set *rrset, rr dns.RR, at config.Pos) {
	if len(set.rrs) == 0 || set.rrs[0].Header().Ttl == rr.Header().Ttl {
		return
	}
	low := min(set.rrs[0].Header().Ttl, rr.Header().Ttl)
	l.warnf(at, "%s %s records have different TTLs; all get the lowest, %d (RFC 2181 5.2)",
		rr.Header().Name, dns.Type(set.rtype), low)
	rr.Header().Ttl = low
	for _, other := range set.rrs {
		other.Header().Ttl = low
	}
}

// nodeFor gives the node of a name in the zone, and makes it and the empty
// non-terminals above it exist.
func (l *loader) nodeFor(name string) *node {
	if name == l.last {
		return l.lastOf
	}
	key := canonical(name)
	n := l.zone.nodes[key]
	if n == nil {
		n = &node{}
		l.zone.nodes[key] = n
		for up := key; up != l.zone.apex; {
			up = parent(up)
			if l.zone.nodes[up] != nil {
				break
			}
			l.zone.nodes[up] = &node{}
		}
	}
	l.last, l.lastOf = name, n
	return n
}

// finish notes what answers need to know of each node.
func (l *loader) finish() {
	z := l.zone
	for name, n := range z.nodes {
		n.cut = name != z.apex && n.get(dns.TypeNS) != nil
		n.dname = n.get(dns.TypeDNAME) != nil
	}
	if apex := z.nodes[z.apex]; apex != nil {
		if set := apex.get(dns.TypeSOA); set != nil {
			z.soa = set.rrs[0].(*dns.SOA)
			z.negative = min(z.soa.Hdr.Ttl, z.soa.Minttl)
		}
	}
}

// top is the place for what is wrong with the zone as a whole.
func (l *loader) top() config.Pos {
	if len(l.zone.files) == 0 {
		return l.decl
	}
	return config.Pos{File: l.zone.files[0].shown, Line: 1, Col: 1}
}

func (l *loader) pos(set *rrset) config.Pos {
	return config.Pos{File: l.zone.files[set.file].shown, Line: int(set.line), Col: 1}
}

func (l *loader) errorf(at config.Pos, format string, args ...any) {
	l.report(&config.Error{Pos: at, Text: fmt.Sprintf(format, args...)})
}

func (l *loader) warnf(at config.Pos, format string, args ...any) {
	l.report(&config.Error{Pos: at, Text: fmt.Sprintf(format, args...), Warning: true})
}

// exceeds makes the error or warning that is reported next one of a limit.
func (l *loader) exceeds(which limit) { l.beyond = limitNames[which] }

// report keeps an error unless there are too many of its kind: a million
// warnings help nobody, and must not crowd out the one error.
func (l *loader) report(e *config.Error) {
	if l.beyond != "" {
		e.Limit, e.Text, l.beyond = l.beyond, e.Text+" (dns.limits."+l.beyond+")", ""
	}
	kind := &l.errors
	if e.Warning {
		kind = &l.warns
	}
	if *kind++; *kind == maxZoneErrors {
		e = &config.Error{Pos: e.Pos, Text: e.Text + "; what follows of this kind is not listed", Warning: e.Warning}
	}
	if *kind <= maxZoneErrors {
		l.errs = append(l.errs, e)
	}
}
