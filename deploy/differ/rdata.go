package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Types by number (the IANA registry of DNS parameters).
const (
	typeA      = 1
	typeNS     = 2
	typeCNAME  = 5
	typeSOA    = 6
	typePTR    = 12
	typeHINFO  = 13
	typeMX     = 15
	typeTXT    = 16
	typeRP     = 17
	typeAFSDB  = 18
	typeAAAA   = 28
	typeLOC    = 29
	typeSRV    = 33
	typeNAPTR  = 35
	typeKX     = 36
	typeDNAME  = 39
	typeOPT    = 41
	typeDS     = 43
	typeSSHFP  = 44
	typeRRSIG  = 46
	typeNSEC   = 47
	typeNSEC3  = 50
	typeTLSA   = 52
	typeSVCB   = 64
	typeHTTPS  = 65
	typeSPF    = 99
	typeTKEY   = 249
	typeTSIG   = 250
	typeIXFR   = 251
	typeAXFR   = 252
	typeMAILB  = 253
	typeMAILA  = 254
	typeANY    = 255
	typeURI    = 256
	typeCAA    = 257
	firstMeta  = 128   // to typeANY: questions, not data (RFC 6895 3.1)
	firstAlien = 65280 // private use: no server has a name for them
)

// layout is what the RDATA of a type is made of, one letter a field:
//
//	n  domain name              1 2 4  number of so many octets
//	a  IPv4, q IPv6 address     s      character string
//	S  strings to the end       x      octets to the end, hexadecimal
//	g  string, written bare     v      octets to the end, written quoted
//	l  a LOC record             p      SVCB parameters
type layout struct {
	name   string
	fields string
}

var layouts = map[uint16]layout{
	typeA: {"A", "a"}, typeNS: {"NS", "n"}, typeCNAME: {"CNAME", "n"}, typeSOA: {"SOA", "nn44444"},
	typePTR: {"PTR", "n"}, typeHINFO: {"HINFO", "ss"}, typeMX: {"MX", "2n"}, typeTXT: {"TXT", "S"},
	typeRP: {"RP", "nn"}, typeAFSDB: {"AFSDB", "2n"}, typeAAAA: {"AAAA", "q"}, typeLOC: {"LOC", "l"},
	typeSRV: {"SRV", "222n"}, typeNAPTR: {"NAPTR", "22sssn"}, typeKX: {"KX", "2n"}, typeDNAME: {"DNAME", "n"},
	typeDS: {"DS", "211x"}, typeSSHFP: {"SSHFP", "11x"}, typeTLSA: {"TLSA", "111x"}, typeSVCB: {"SVCB", "2np"},
	typeHTTPS: {"HTTPS", "2np"}, typeSPF: {"SPF", "S"}, typeURI: {"URI", "22v"}, typeCAA: {"CAA", "1gv"},
}

// typeName gives the name of a type; those without one are TYPE and a number
// (RFC 3597 section 5).
func typeName(rtype uint16) string {
	if l, ok := layouts[rtype]; ok {
		return l.name
	}
	for number, name := range map[uint16]string{typeOPT: "OPT", typeTKEY: "TKEY", typeTSIG: "TSIG", typeIXFR: "IXFR",
		typeAXFR: "AXFR", typeMAILB: "MAILB", typeMAILA: "MAILA", typeANY: "ANY"} {
		if number == rtype {
			return name
		}
	}
	return fmt.Sprint("TYPE", rtype)
}

// cutter takes fields off RDATA, and notes when it ends too early.
type cutter struct {
	data string
	bad  bool
}

func (c *cutter) take(n int) string {
	if n > len(c.data) {
		c.bad, n = true, len(c.data)
	}
	head := c.data[:n]
	c.data = c.data[n:]
	return head
}

func (c *cutter) number(octets int) uint64 {
	var wide [8]byte
	copy(wide[8-octets:], c.take(octets))
	return binary.BigEndian.Uint64(wide[:])
}

// str takes a character string: its length, then so many octets.
func (c *cutter) str() string { return c.take(int(c.number(1))) }

// rest takes everything that is left.
func (c *cutter) rest() string { return c.take(len(c.data)) }

// name takes a name that is not compressed.
func (c *cutter) name() name {
	at := 0
	for at < len(c.data) && c.data[at] != 0 && c.data[at] <= maxLabel {
		at += 1 + int(c.data[at])
	}
	if at >= len(c.data) || c.data[at] != 0 {
		c.bad = true
		return root
	}
	return name(c.take(at + 1))
}

// namesOf gives the names in RDATA of a type.
func namesOf(rtype uint16, data string) (names []name) {
	fields := layouts[rtype].fields
	c := &cutter{data: data}
	for i := range len(fields) {
		switch f := fields[i]; f {
		case 'n':
			names = append(names, c.name())
		case '1', '2', '4':
			c.take(int(f - '0'))
		case 's', 'g':
			c.str()
		default:
			return names
		}
	}
	return names
}

// lowerNames gives RDATA with its names in lower case: the form that data are
// compared in. The other fields are kept to the octet.
func lowerNames(rtype uint16, data string) string {
	fields := layouts[rtype].fields
	if !strings.Contains(fields, "n") {
		return data
	}
	var out strings.Builder
	c := &cutter{data: data}
	for i := range len(fields) {
		switch f := fields[i]; f {
		case 'n':
			out.WriteString(string(c.name().lower()))
		case '1', '2', '4':
			out.WriteString(c.take(int(f - '0')))
		case 's', 'g':
			s := c.str()
			out.WriteString(rune1(len(s)) + s)
		}
	}
	out.WriteString(c.rest())
	if c.bad {
		return data
	}
	return out.String()
}

// rdataText gives RDATA as master files have it. What does not fit the layout
// of its type is written as RFC 3597 says.
func rdataText(rtype uint16, data string) string {
	fields := layouts[rtype].fields
	if fields == "" {
		return opaque(data)
	}
	c := &cutter{data: data}
	var words []string
	for i := range len(fields) {
		words = append(words, c.words(fields[i])...)
	}
	if c.bad || c.data != "" || slices.Contains(words, "") {
		return opaque(data)
	}
	return strings.Join(words, " ")
}

// opaque is the form of types that have no name (RFC 3597 section 5).
func opaque(data string) string {
	return strings.TrimSpace(fmt.Sprintf(`\# %d %s`, len(data), hex.EncodeToString([]byte(data))))
}

// words takes one field as text. The word "" says that it cannot be written.
func (c *cutter) words(field byte) []string {
	switch field {
	case 'n':
		return []string{c.name().String()}
	case '1', '2', '4':
		return []string{strconv.FormatUint(c.number(int(field-'0')), 10)}
	case 'a':
		return []string{address(c.take(4))}
	case 'q':
		return []string{address(c.take(16))}
	case 's':
		return []string{quoted(c.str())}
	case 'g':
		return []string{c.str()}
	case 'v':
		return []string{quoted(c.rest())}
	case 'x':
		return []string{hex.EncodeToString([]byte(c.rest()))}
	case 'l':
		return []string{locText(c)}
	case 'p':
		return serviceText(c)
	}
	var words []string
	for c.data != "" && !c.bad {
		words = append(words, quoted(c.str()))
	}
	return words
}

func address(octets string) string {
	a, ok := netip.AddrFromSlice([]byte(octets))
	if !ok {
		return ""
	}
	return a.String()
}

func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		if c == ' ' {
			b.WriteByte(c)
		} else {
			writeOctet(&b, c, `"\`)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// locText writes a LOC record (RFC 1876 section 3) whose sizes are the ones
// that rdata.go's maker uses: whole metres and thousandths of a second.
func locText(c *cutter) string {
	c.take(4) // version 0; size 1 m, precision 10,000 m and 10 m: what is not written
	angle := func(positive, negative string) string {
		v := int64(c.number(4)) - 1<<31
		side := positive
		if v < 0 {
			v, side = -v, negative
		}
		return fmt.Sprintf("%d %d %d.%03d %s", v/3_600_000, v/60_000%60, v/1000%60, v%1000, side)
	}
	lat, long := angle("N", "S"), angle("E", "W")
	return fmt.Sprintf("%s %s %dm 1m 10000m 10m", lat, long, int64(c.number(4))/100-100_000)
}

// serviceText writes the parameters of SVCB and HTTPS that the generator makes
// (RFC 9460 section 14.3.2).
func serviceText(c *cutter) (words []string) {
	for c.data != "" && !c.bad {
		key := c.number(2)
		value := &cutter{data: c.take(int(c.number(2)))}
		list := []string{}
		word := fmt.Sprint("key", key)
		switch key {
		case 1:
			word = "alpn"
			for value.data != "" && !value.bad {
				list = append(list, value.str())
			}
		case 3:
			word, list = "port", []string{strconv.FormatUint(value.number(2), 10)}
		case 4, 6:
			word = fmt.Sprintf("ipv%dhint", key)
			for size := 4 * (1 + int(key-4)/2*3); value.data != "" && !value.bad; {
				list = append(list, address(value.take(size)))
			}
		default:
			list = []string{quoted(value.rest())}
		}
		words = append(words, word+"="+strings.Join(list, ","))
		c.bad = c.bad || value.bad
	}
	return words
}
