package dnsserver

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// byteOrderMark is what some editors put before UTF-8.
var byteOrderMark = []byte("\ufeff")

// ParseTTL reads a TTL as master files write it: seconds, or numbers with units
// as in 1h30m, up to 2^32-1 seconds.
func ParseTTL(word string) (uint32, bool) {
	var total, number uint64
	digits := 0
	for _, c := range strings.ToLower(word) {
		if c >= '0' && c <= '9' {
			number = number*10 + uint64(c-'0')
			if digits++; digits > 10 {
				return 0, false
			}
			continue
		}
		unit, ok := map[rune]uint64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}[c]
		if !ok || digits == 0 {
			return 0, false
		}
		total, number, digits = total+number*unit, 0, 0
	}
	total += number
	return uint32(total), word != "" && total <= math.MaxUint32
}

// parseSOA parses again an entry for which no TTL was known. If it is the SOA,
// its minimum is the TTL of this record and of all that have none, as every
// server has it that reads files from before RFC 2308.
func (f *masterFile) parseSOA(e entry) (dns.RR, bool) {
	err := f.parser.Err()
	if err == nil || !strings.Contains(err.Error(), "missing TTL") || !bytes.Contains(bytes.ToUpper(e.text), []byte("SOA")) {
		return nil, false
	}
	f.scope.ttl = 0
	f.restart()
	rr, ok := f.parse(e)
	soa, is := rr.(*dns.SOA)
	f.scope.ttl = noTTL
	if !ok || !is {
		return nil, false
	}
	soa.Hdr.Ttl = min(soa.Minttl, maxTTL)
	f.scope.ttl = int64(soa.Hdr.Ttl)
	f.restart()
	f.warnf(f.at(e), "no TTL: the SOA record's minimum, %d, stands for it; put $TTL before it (RFC 2308 section 4)", soa.Hdr.Ttl)
	return rr, true
}

// badEscape says what is wrong with the text after a backslash, or nothing: a
// digit there starts the three digits of an octet (RFC 1035 5.1).
func badEscape(text []byte) string {
	if !isDigit(text[0]) {
		return ""
	}
	text = text[:min(3, len(text))]
	digits, value := 0, 0
	for digits < len(text) && isDigit(text[digits]) {
		value = value*10 + int(text[digits]-'0')
		digits++
	}
	if digits == 3 && value <= math.MaxUint8 {
		return ""
	}
	return fmt.Sprintf("\\%s: digits after a backslash are the three of an octet, 000 to 255", text[:digits])
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// unlike says why data in the form of RFC 3597 is not what its type looks like,
// or nothing. The library fills up data that ends early, and follows pointers,
// which data in a file cannot have.
func unlike(rr dns.RR, text []byte) string {
	_, digits, generic := bytes.Cut(text, []byte(`\#`))
	if _, opaque := rr.(*dns.RFC3597); !generic || opaque || bytes.IndexByte(text, '"') >= 0 {
		return ""
	}
	if rtype := rr.Header().Rrtype; rtype >= firstMetaType && rtype <= dns.TypeANY {
		return "" // add refuses these by themselves
	}
	want := ""
	for i, word := range strings.FieldsFunc(withoutComments(digits), func(r rune) bool { return strings.ContainsRune(" \t\r\n()", r) }) {
		if i > 0 { // the first is the length
			want += word
		}
	}
	wire := make([]byte, math.MaxUint16+512)
	n, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil || strings.EqualFold(want, hex.EncodeToString(wire[n-int(rr.Header().Rdlength):n])) {
		return ""
	}
	return fmt.Sprintf("%s %s: %d octets of data are not what the type looks like", rr.Header().Name, dns.Type(rr.Header().Rrtype), len(want)/2)
}

func withoutComments(text []byte) string {
	var plain strings.Builder
	for line := range bytes.Lines(text) {
		line, _, _ = bytes.Cut(line, []byte(";"))
		plain.Write(line)
		plain.WriteByte('\n')
	}
	return plain.String()
}

// splits says whether the parser has cut a string of an entry in pieces: then
// there are more of them than were written in quotes.
func splits(txt *dns.TXT, text []byte) bool {
	quotes := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			quotes++
		}
	}
	return quotes > 0 && len(txt.Txt) > quotes/2 && slices.ContainsFunc(txt.Txt, func(s string) bool { return len(s) >= 255 })
}
