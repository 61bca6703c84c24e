package dnsserver

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// exactSeconds puts right the angles of a LOC record (RFC 1876 section 3). The
// parser multiplies seconds as floating point and cuts off what is behind the
// point, so that 32.638 becomes 32637 thousandths. What the text says is found
// before its N or S, and E or W: degrees, minutes and seconds.
func exactSeconds(rr *dns.LOC, text []byte) {
	words := locWords(text)
	for i, word := range words {
		if i < 4 {
			continue
		}
		before, seconds := words[i-4], words[i-1]
		switch {
		case word == "N" && strings.EqualFold(before, "LOC"):
			rr.Latitude += lostBy(seconds)
		case word == "S" && strings.EqualFold(before, "LOC"):
			rr.Latitude -= lostBy(seconds)
		case word == "E" && (before == "N" || before == "S"):
			rr.Longitude += lostBy(seconds)
		case word == "W" && (before == "N" || before == "S"):
			rr.Longitude -= lostBy(seconds)
		}
	}
}

// locWords cuts an entry into its words, without comments and parentheses. A
// LOC record has no quoted strings.
func locWords(text []byte) (words []string) {
	for line := range bytes.Lines(text) {
		line, _, _ = bytes.Cut(line, []byte{';'})
		words = append(words, strings.FieldsFunc(string(line), func(r rune) bool { return strings.ContainsRune(" \t\r\n()", r) })...)
	}
	return words
}

// lostBy gives the thousandths that the parser cut off seconds: one or none.
func lostBy(seconds string) uint32 {
	value, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return 0
	}
	return uint32(value*1000+0.5) - uint32(1000*value)
}
