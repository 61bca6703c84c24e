package dnsserver

import (
	"crypto/sha256"
	"fmt"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// Zone is one authoritative zone: the records of its master file, and over
// them the names that are bound to pools. It is immutable and safe for any
// number of readers.
//
// The records are shared by every Zone that [Zone.bind] makes of one parse, so
// a reload that leaves a file alone costs nothing for its records.
type Zone struct {
	*records
	over map[string]*node // dynamic names, and the empty nodes above them
}

// records is what a master file says.
type records struct {
	apex     string
	nodes    map[string]*node // by canonical name; empty non-terminals included
	soa      *dns.SOA
	negative uint32 // TTL of negative answers: min(SOA TTL, minimum), RFC 2308 section 5
	count    int    // records
	files    []zoneFile
	warnings config.Errors
	doubts   []doubt // records whose targets may have no address
}

// zoneFile is one file that a zone was read from.
type zoneFile struct {
	ref   string // as config.Source takes it
	shown string // as messages print it
	sum   [sha256.Size]byte
}

// node is what exists at one name. A node without sets and without a binding
// is an empty non-terminal (RFC 8499).
type node struct {
	sets  []rrset
	bound decider // nil for a name without a pool
	cut   bool    // owns NS below the apex: a delegation
	dname bool    // owns DNAME: nothing below it exists (RFC 6672 2.4)
}

// decider chooses the addresses of a dynamic name; [*binding] is the one.
type decider interface {
	decide(q *question, qtype uint16) *decision
}

// rrset is the records of one type at one name.
type rrset struct {
	rtype uint16
	file  uint16 // index into records.files
	line  uint32 // of its first record
	size  uint32 // octets on the wire without compression
	least uint32 // octets that it has in any reply, compressed as well as can be
	rrs   []dns.RR
}

// Name gives the apex, canonical.
func (z *Zone) Name() string { return z.apex }

// Records gives the number of records that the master file holds.
func (z *Zone) Records() int { return z.count }

// Serial gives the serial number of the SOA record.
func (z *Zone) Serial() uint32 { return z.soa.Serial }

// Warnings gives what [ParseZone] found odd but usable.
func (z *Zone) Warnings() config.Errors { return z.warnings }

// Files gives the references of all files that the zone was read from: the
// master file and what it includes.
func (z *Zone) Files() []string {
	refs := make([]string, len(z.files))
	for i, f := range z.files {
		refs[i] = f.ref
	}
	return refs
}

// Fresh says whether ParseZone would give these same records again: the zone
// has the same name and file, and no file that was read has changed. It reads
// the files whole and may be called from any goroutine.
func (z *Zone) Fresh(src config.Source, c *config.Zone) bool {
	if c.Name != z.apex || len(z.files) == 0 || z.files[0].ref != c.File {
		return false
	}
	for _, f := range z.files {
		data, err := readFile(src, f.ref, zoneLimits(c).FileSize)
		if err != nil || sha256.Sum256(data) != f.sum {
			return false
		}
	}
	return true
}

// find gives the node of a canonical name, or nil when the name does not exist.
func (z *Zone) find(name string) *node {
	if n, ok := z.over[name]; ok {
		return n
	}
	return z.nodes[name]
}

// get gives the set of one type, or nil.
func (n *node) get(rtype uint16) *rrset {
	for i := range n.sets {
		if n.sets[i].rtype == rtype {
			return &n.sets[i]
		}
	}
	return nil
}

// bind gives the zone with dynamic names in the place of those it had. The
// records are shared with z. Every name in c that fails is reported at its own
// place; the others are bound, so that all errors of a run show. The function
// cname gives a CNAME that a pool may answer, or nothing.
func (z *Zone) bind(c *config.Zone, cname func(pool string) string, of func(*config.Name) decider) (*Zone, config.Errors) {
	next := &Zone{records: z.records, over: make(map[string]*node, len(c.Names))}
	var errs config.Errors
	for _, name := range c.Names {
		fqdn := canonical(name.FQDN)
		text := z.mayBind(fqdn)
		if text == "" {
			text = z.mayAlias(fqdn, name.Pool, cname)
		}
		if text != "" {
			errs = append(errs, &config.Error{Pos: name.Pos, Text: fmt.Sprintf("name %q: %s", name.Name, text)})
			continue
		}
		next.put(fqdn, of(name))
	}
	return next, append(errs, next.checkDoubts(len(errs) == 0)...)
}

// mayBind says why a name cannot be dynamic, or nothing.
func (z *Zone) mayBind(name string) string {
	if !dns.IsSubDomain(z.apex, name) {
		return "is not in zone " + z.apex
	}
	var starts [maxLabels]int
	for i := labelsBelow(name, z.apex, &starts) - 1; i >= 0; i-- {
		switch n := z.nodes[name[starts[i]:]]; {
		case n == nil:
		case n.cut:
			return fmt.Sprintf("is at or below the delegation of %s (%s)", name[starts[i]:], z.at(n.get(dns.TypeNS)))
		case n.dname && i > 0:
			return fmt.Sprintf("is below the DNAME of %s (%s)", name[starts[i]:], z.at(n.get(dns.TypeDNAME)))
		}
	}
	if apex := z.nodes[z.apex]; apex.dname && name != z.apex {
		return fmt.Sprintf("is below the DNAME of %s (%s)", z.apex, z.at(apex.get(dns.TypeDNAME)))
	}
	return z.mayOwn(name)
}

// mayOwn refuses static records of the types that a dynamic name owns.
func (z *Zone) mayOwn(name string) string {
	n := z.nodes[name]
	if n == nil {
		return ""
	}
	for _, rtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeCNAME} {
		if set := n.get(rtype); set != nil {
			return fmt.Sprintf("has a static %s record too (%s); a dynamic name owns A, AAAA and CNAME",
				dns.TypeToString[rtype], z.at(set))
		}
	}
	return ""
}

// mayAlias says why a pool cannot answer for a name: a CNAME of it would stand
// beside the name's static records (RFC 1034 3.6.2). The types that may stand
// there are those of checkAlias.
func (z *Zone) mayAlias(name, pool string, cname func(string) string) string {
	n := z.nodes[name]
	if n == nil || len(n.sets) == 0 {
		return ""
	}
	target := cname(pool)
	if target == "" {
		return ""
	}
	other := n.besideCNAME()
	if other == nil {
		return ""
	}
	return fmt.Sprintf("has a static %s record (%s), and pool %q may answer the CNAME %s; a CNAME stands alone (RFC 2181 10.1)",
		dns.Type(other.rtype), z.at(other), pool, target)
}

// besideCNAME gives the first set that a CNAME cannot stand beside, or nil.
func (n *node) besideCNAME() *rrset {
	for i := range n.sets {
		switch n.sets[i].rtype {
		case dns.TypeCNAME, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeKEY:
		default:
			return &n.sets[i]
		}
	}
	return nil
}

// put binds a name, and makes the names above it exist.
func (z *Zone) put(name string, bound decider) {
	own := &node{bound: bound}
	if static := z.nodes[name]; static != nil {
		own.sets, own.dname = static.sets, static.dname
	}
	z.over[name] = own
	for up := name; up != z.apex; {
		up = parent(up)
		if z.find(up) != nil {
			return
		}
		z.over[up] = &node{}
	}
}

// at gives the place of a set as messages print it.
func (z *Zone) at(set *rrset) string {
	if set == nil || int(set.file) >= len(z.files) {
		return z.apex
	}
	return fmt.Sprintf("%s:%d", z.files[set.file].shown, set.line)
}

// place is where a walk down a zone ended.
type place struct {
	node     *node  // what exists at the name, or the wildcard that covers it; nil: nothing
	owner    string // the name of node in the zone: the name itself, "*.x", the cut or the DNAME's owner
	stopped  stop   // why the walk ended before the name
	wildcard bool
}

type stop uint8

const (
	stopNone  stop = iota
	stopCut        // a delegation at or above the name
	stopDNAME      // a DNAME above the name
)

// walk finds the place of a canonical name that is in the zone (RFC 1034
// 4.3.2 step 3, with RFC 4592 and RFC 6672). A DS question at a cut is the
// parent's to answer (RFC 4035 3.1.4.1), so it does not stop there.
func (z *Zone) walk(name string, qtype uint16) place {
	var starts [maxLabels]int
	at, owner := z.find(z.apex), z.apex
	for i := labelsBelow(name, z.apex, &starts) - 1; i >= 0; i-- {
		if at.dname {
			return place{node: at, owner: owner, stopped: stopDNAME}
		}
		below := z.find(name[starts[i]:])
		if below == nil {
			return z.wildcard(owner)
		}
		at, owner = below, name[starts[i]:]
		if at.cut && (i > 0 || qtype != dns.TypeDS) {
			return place{node: at, owner: owner, stopped: stopCut}
		}
	}
	return place{node: at, owner: owner}
}

// wildcard gives the source of synthesis under a closest encloser (RFC 4592
// 3.3.1), or a place without a node. A wildcard that owns NS is not a cut for
// the names that it covers: its records are synthesised like any others.
func (z *Zone) wildcard(encloser string) place {
	owner := "*." + encloser
	if encloser == "." {
		owner = "*."
	}
	return place{node: z.find(owner), owner: owner, wildcard: true}
}

const maxLabels = 128 // a name of 255 octets has at most 127 labels and the root

// labelsBelow notes where each label of name above apex starts, and gives
// their number. The name must be in the zone of the apex.
func labelsBelow(name, apex string, starts *[maxLabels]int) int {
	end := len(name) - len(apex)
	if apex == "." {
		end = len(name)
	}
	if name == "." || end <= 0 {
		return 0
	}
	n := 0
	for off := 0; off < end && n < maxLabels; n++ {
		starts[n] = off
		next, last := dns.NextLabel(name, off)
		if last {
			return n + 1
		}
		off = next
	}
	return n
}

// parent gives the name above a canonical name; the root is its own parent.
func parent(name string) string {
	next, last := dns.NextLabel(name, 0)
	if last {
		return "."
	}
	return name[next:]
}

// canonical gives the form that names are compared in: one spelling for each
// octet and lower case.
func canonical(name string) string {
	name = spelled(name)
	for i := range len(name) {
		if 'A' <= name[i] && name[i] <= 'Z' {
			return lower(name)
		}
	}
	return name
}

// lower folds what DNS folds: A to Z and no other octet (RFC 4343 section 3).
func lower(name string) string {
	folded := []byte(name)
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}

// spelled gives a name fully qualified and with the one spelling that names
// from the network have: "\065" is "A", "@" is "\@" and octets above 126 are
// three digits. What is no name stays as it is.
func spelled(name string) string {
	name = dns.Fqdn(name)
	if isPlain(name) {
		return name
	}
	var wire [maxName + 1]byte
	n, err := dns.PackDomainName(name, wire[:], 0, nil, false)
	if err != nil {
		return name
	}
	again, _, err := dns.UnpackDomainName(wire[:n], 0)
	if err != nil {
		return name
	}
	return again
}

// isPlain tells the names that have one spelling only, which are nearly all.
func isPlain(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '-', c == '_', c == '*':
		default:
			return false
		}
	}
	return true
}
