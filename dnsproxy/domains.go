package dnsproxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"github.com/miekg/dns"
)

// Domains is a set of names, each of which stands for all below it too, in the
// manner of 100,000 of them: an open hash table over the names on the wire. A
// look-up reads the name once and asks for each name that it is below, the
// shortest first; it allocates nothing. A name that is below another of the set
// is left out. The nil *Domains is empty. It is not changed once it is made.
type Domains struct {
	slots []slot // a power of two of them, at most half of them taken
	names []byte // on the wire, one after the other
	depth int    // labels of the longest name: no suffix with more is in the set
	count int
	all   bool // the root is in the set
}

// slot is a place in the table.
type slot struct {
	hash uint32
	at   uint32 // of the name in names, and one more; 0: the slot is free; with onlyBelow
}

// onlyBelow marks a name that is not meant itself: *.example.com.
const onlyBelow = 1 << 31

// maxDomains bounds a set, and with it the memory that a file can take.
const maxDomains = 4 << 20

// domainSet collects names for a set.
type domainSet struct {
	wire  []byte
	ends  []uint32
	below []bool
}

// newDomains makes the set of names as the configuration has them, and of those
// in a file.
func newDomains(list []string, file []byte) (*Domains, error) {
	s := &domainSet{}
	var wire [maxName]byte
	for _, n := range list {
		end, err := dns.PackDomainName(dns.Fqdn(strings.ToLower(n)), wire[:], 0, nil, false)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", n, err)
		}
		s.add(wire[:end], false)
	}
	if err := s.file(file); err != nil {
		return nil, err
	}
	return s.build(), nil
}

func (s *domainSet) add(wire []byte, below bool) {
	s.wire = append(s.wire, wire...)
	s.ends, s.below = append(s.ends, uint32(len(s.wire))), append(s.below, below)
}

// file reads one name a line. # begins a comment; *.example.com is all below
// example.com without itself. Only what host names are made of is taken, and _:
// anything else is more likely a file of another form.
func (s *domainSet) file(text []byte) error {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if i := bytes.IndexByte(line, '#'); i >= 0 {
			line = line[:i]
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(s.ends) >= maxDomains {
			return fmt.Errorf("line %d: a file may have %d names", number, maxDomains)
		}
		if err := s.line(line); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
	return nil
}

// line takes one name.
func (s *domainSet) line(name []byte) error {
	rest, below := bytes.CutPrefix(name, []byte("*."))
	start := len(s.wire)
	fail := func(format string, args ...any) error {
		s.wire = s.wire[:start]
		return fmt.Errorf("%q "+format, append([]any{shortened(name)}, args...)...)
	}
	rest = bytes.TrimSuffix(rest, []byte("."))
	if len(rest) == 0 && string(name) != "." {
		return fail("is no domain name")
	}
	for len(rest) > 0 {
		label, tail, more := bytes.Cut(rest, []byte("."))
		if len(label) == 0 || len(label) > 63 || more && len(tail) == 0 {
			return fail("is no domain name: a label has 1 to 63 characters")
		}
		s.wire = append(s.wire, byte(len(label)))
		for _, c := range label {
			switch {
			case 'A' <= c && c <= 'Z':
				c += 'a' - 'A'
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			case c >= 0x80:
				return fail("is not in ASCII: write the name as DNS has it, xn--...")
			default:
				return fail("is no domain name, for it has %q: one name a line, and comments after #", c)
			}
			s.wire = append(s.wire, c)
		}
		rest = tail
	}
	s.wire = append(s.wire, 0)
	if len(s.wire)-start > maxName {
		return fail("is longer than a domain name can be")
	}
	s.ends, s.below = append(s.ends, uint32(len(s.wire))), append(s.below, below)
	return nil
}

// shortened gives the beginning of what is told in an error.
func shortened(name []byte) string {
	if len(name) > 80 {
		return string(name[:80]) + "..."
	}
	return string(name)
}

// build makes the set: shorter names first, so that those below them are seen to
// be and left out.
func (s *domainSet) build() *Domains {
	if len(s.ends) == 0 {
		return nil
	}
	d := &Domains{slots: make([]slot, 1<<bits.Len(uint(2*len(s.ends))))}
	var depth [128]int
	of := make([]uint8, len(s.ends))
	start := uint32(0)
	for i, end := range s.ends {
		of[i] = uint8(labels(s.wire[start:end]))
		depth[of[i]]++
		start = end
	}
	// By count of labels, exact names before wildcards of the same.
	order := make([]uint32, len(s.ends))
	var at [128]int
	for i := 1; i < len(at); i++ {
		at[i] = at[i-1] + depth[i-1]
	}
	for i := range s.ends {
		order[at[of[i]]] = uint32(i)
		at[of[i]]++
	}
	for _, below := range []bool{false, true} { // a wildcard is of no use where its own name is, and takes up no place then
		for _, i := range order {
			if s.below[i] != below {
				continue
			}
			start := uint32(0)
			if i > 0 {
				start = s.ends[i-1]
			}
			d.insert(s.wire[start:s.ends[i]], below, int(of[i]))
		}
	}
	d.names = bytes.Clone(d.names) // without room to grow
	return d
}

// insert adds a name unless it is covered.
func (d *Domains) insert(wire []byte, below bool, labels int) {
	if d.Match(wire) || below && d.has(wire) {
		return
	}
	if labels == 0 && !below {
		d.all = true
	}
	h, mask := hashOf(wire), uint32(len(d.slots)-1)
	at := h & mask
	for d.slots[at].at != 0 {
		at = (at + 1) & mask
	}
	d.slots[at] = slot{hash: h, at: uint32(len(d.names)) + 1}
	if below {
		d.slots[at].at |= onlyBelow
	}
	d.names = append(d.names, wire...)
	d.depth, d.count = max(d.depth, labels), d.count+1
}

// has says whether the name itself was inserted, be it as a wildcard.
func (d *Domains) has(wire []byte) bool {
	_, ok := d.lookUp(hashOf(wire), wire)
	return ok
}

// lookUp finds a name.
func (d *Domains) lookUp(h uint32, wire []byte) (slot, bool) {
	mask := uint32(len(d.slots) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		s := d.slots[at]
		if s.at == 0 {
			return s, false
		}
		if s.hash == h && bytes.HasPrefix(d.names[s.at&^onlyBelow-1:], wire) { // a name ends with the root label, so no other begins with it
			return s, true
		}
	}
}

// Len is how many names the set has: those below others are not counted.
func (d *Domains) Len() int {
	if d == nil {
		return 0
	}
	return d.count
}

// Match says whether a name, on the wire and in lower case, is one of the set or
// below one.
func (d *Domains) Match(name []byte) bool { return d.covering(name) >= 0 }

// covering gives where in a name the name of the set begins that it is, or is
// below; -1: there is none.
func (d *Domains) covering(name []byte) int {
	if d == nil {
		return -1
	}
	if d.all {
		return len(name) - 1
	}
	var starts [128]uint8
	n := 0
	for at := 0; at < len(name) && name[at] != 0; at += 1 + int(name[at]) {
		if n == len(starts)-1 {
			return -1 // no name has as many labels
		}
		starts[n] = uint8(at)
		n++
	}
	h, end := uint64(0), len(name)
	for k := 0; ; k++ { // the suffix of k labels
		start := len(name) - 1
		if k > 0 {
			start = int(starts[n-k])
		}
		h = mixed(h, name[start:end])
		end = start
		if s, ok := d.lookUp(uint32(h), name[start:]); ok && (s.at&onlyBelow == 0 || k < n) {
			return start
		}
		if k == n || k == d.depth {
			return -1
		}
	}
}

// mixed adds a label, with the octet of its length, to the hash of what follows
// it in a name: so one reading of a name gives the hash of each suffix. Who asks
// cannot put anything into the table, so that the hash needs no secret.
func mixed(h uint64, label []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio
	for ; len(label) >= 8; label = label[8:] {
		h = (h ^ binary.LittleEndian.Uint64(label)) * odd
		h ^= h >> 32
	}
	var rest uint64
	switch n := len(label); {
	case n >= 4: // the two halves overlap
		rest = uint64(binary.LittleEndian.Uint32(label)) | uint64(binary.LittleEndian.Uint32(label[n-4:]))<<32
	case n > 0:
		rest = uint64(label[0]) | uint64(label[n/2])<<8 | uint64(label[n-1])<<16
	}
	h = (h ^ rest ^ 0xff<<56) * odd
	return h ^ h>>29
}

// hashOf is the hash of a whole name.
func hashOf(wire []byte) uint32 {
	return uint32(hash64(wire))
}

func hash64(wire []byte) uint64 {
	if len(wire) <= 1 {
		return mixed(0, wire)
	}
	next := 1 + int(wire[0])
	return mixed(hash64(wire[next:]), wire[:next])
}

// labels counts those of a name on the wire, without the root.
func labels(wire []byte) (n int) {
	for at := 0; at < len(wire) && wire[at] != 0; at += 1 + int(wire[at]) {
		n++
	}
	return n
}

// domainsKey tells sets apart, so that a reload makes only those anew that have
// changed.
func domainsKey(list []string, file []byte) [sha256.Size]byte {
	h := sha256.New()
	for _, n := range list {
		fmt.Fprintf(h, "%s\n", n)
	}
	h.Write([]byte{0})
	h.Write(file)
	return [sha256.Size]byte(h.Sum(nil))
}
