package dnsserver

import (
	"fmt"
	"strings"
)

// nameRows: how the question's name is written.
func nameRows() []protocolRow {
	named := func(octets string) wire { return wireHeader(0, 1).octets(octets).u16(typeA, classIN) }
	long := func(last int) wire { // 3 labels of 63, one more, and proto.test
		l63 := strings.Repeat("a", 63)
		return wireQuery(strings.Join([]string{l63, l63, l63, strings.Repeat("b", last), "proto.test"}, "."), typeA)
	}
	const pointer, label, malformed = "RFC 1035 4.1.4: a pointer leads to a prior name", "RFC 6891 5, RFC 1035 2.3.4", "FORMERR 0/0/0"
	const denied = "NXDOMAIN aa q 0/1/0"
	mixed := wireHeader(0, 1).question("wWw.PrOtO.tEsT", typeA, classIN)
	rows := []protocolRow{
		{pointer, "a pointer forward, to a name behind", wireHeader(0, 1).octets("c012").u16(typeA, classIN).name("www.proto.test"), malformed, ""},
		{pointer, "a pointer forward, into OPT", named("c012").opt(1232, 0, 0, "0003 0000"), malformed, ""},
		{pointer, "a pointer to itself", named("c00c"), malformed, ""},
		{pointer, "a label, and a pointer to it", named("03777777 c00c"), malformed, ""},
		{pointer, "a label, and a pointer to the pointer", named("03777777 c010"), malformed, ""},
		{pointer, "a pointer past the end", named("ffff"), malformed, ""},
		{pointer, "a pointer into the header, where a root is", named("c006"), malformed, ""},
		{pointer, "a pointer to the first octet", named("c000"), malformed, ""},
		{pointer, "half a pointer", wireHeader(0, 1).octets("c0"), malformed, ""},
		{label, "a label of type 0x40", named("41 01").name("proto.test"), malformed, ""},
		{label, "a label of type 0x80", named("81 61").name("proto.test"), malformed, ""},
		{label, "a label of 64 octets", named("40" + strings.Repeat("61", 64) + "00"), malformed, ""},
		{label, "a label of 63 octets", wireQuery(strings.Repeat("a", 63)+".proto.test", typeA), denied, ""},
		{label, "a name of 255 octets", long(50), denied, ""},
		{label, "a name of 256 octets", long(51), malformed, ""},
		{label, "a name without end", wireHeader(0, 1).octets(strings.Repeat("0161", 250)), malformed, ""},
		{label, "127 labels", wireQuery(strings.Repeat("a.", 121)+"proto.test", typeA), denied, ""},
		{"RFC 2181 11", "labels of any octets", wireHeader(0, 1).octets("04 002e5cff").question("proto.test", typeA, classIN), denied, ""},
		{"RFC 2181 11", "the octets of any labels under a wildcard", wireHeader(0, 1).octets("04 002e5cff").question("wild.proto.test", typeA, classIN), answered, ""},
		{"RFC 4343 3, 0x20", "mixed case", mixed, answered, ""},
		{"RFC 4343 3, 0x20", "mixed case, EDNS", mixed.opt(1232, 0, 0, ""), answered + " opt", ""},
		{"RFC 4343 3, 0x20", "mixed case, a name that is missing", wireQuery("NoNe.PROTO.test", typeA), denied, ""},
		{"RFC 4343 3, 0x20", "mixed case, an error", wireHeader(0, 1).question("wWw.PrOtO.tEsT", typeA, 3), "REFUSED q 0/0/0", ""},
		{"RFC 4343 3, 0x20", "mixed case below a cut", wireQuery("wWw.ChIlD.pRoTo.test", typeA), "NOERROR q 0/1/1", ""},
	}
	return rows
}

// responseRows: a response is never answered, whatever kind it is of. Two
// servers that answered responses would talk for ever.
func responseRows() (rows []protocolRow) {
	const rule = "RFC 5625 6.2, reflection: QR set"
	for op := range uint16(16) {
		flags := flagQR | opcode(op)
		name := fmt.Sprint("a response with opcode ", op)
		rows = append(rows,
			protocolRow{rule, name, wireHeader(flags, 1).question("www.proto.test", typeA, classIN), "silent", ""},
			protocolRow{rule, name + " and all flags", wireHeader(flags|0x7ff, 1).question("www.proto.test", typeA, classIN), "silent", ""},
			protocolRow{rule, name + ", a header alone", wireHeader(flags | 1), "silent", ""},
			protocolRow{rule, name + ", malformed", wireHeader(flags, 9, 9, 9, 9).octets("ff"), "silent", ""},
			protocolRow{rule, name + " and EDNS version 1", wireHeader(flags, 1).question("www.proto.test", typeA, classIN).opt(1232, 1, 0, ""), "silent", ""},
		)
	}
	return rows
}
