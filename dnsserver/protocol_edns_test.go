package dnsserver

import (
	"fmt"
	"strings"
	"testing"
)

// ednsRows: version 0, by itself and with what it has.
func ednsRows() (rows []protocolRow) {
	rows = []protocolRow{
		{"RFC 6891 6.1.1", "no EDNS", good, answered, ""},
		{"RFC 8906 3.2.1, 8.2.1", "EDNS", good.opt(4096, 0, 0, ""), answered + " opt", ""},
		{"RFC 3225 3, RFC 8906 3.2.6, 8.2.8", "DO", good.opt(4096, 0, 0x8000, ""), answered + " opt do", ""},
		{"RFC 3225 3", "DO with CD and AD", wireHeader(flagCD|flagAD, 1).question("www.proto.test", typeA, classIN).opt(4096, 0, 0x8000, ""), answered + " opt do", ""},
		{"RFC 6891 6.1.4, RFC 8906 3.2.4, 8.2.4", "all flags but DO", good.opt(4096, 0, 0x7fff, ""), answered + " opt", ""},
		{"RFC 6891 6.1.3", "an extended rcode in a query", good.opt(4096, 0, 0, "").with(len(good)+5, 1), answered + " opt", ""},
		{"RFC 6891 7", "REFUSED with EDNS", wireQuery("www.elsewhere.test", typeA).opt(4096, 0, 0x8000, ""), "REFUSED q 0/0/0 opt do [15]", ""},
		{"RFC 6891 7", "NXDOMAIN with EDNS", wireQuery("none.proto.test", typeA).opt(4096, 0, 0, ""), "NXDOMAIN aa q 0/1/0 opt", ""},
		{"RFC 6891 7", "a referral with EDNS", wireQuery("www.child.proto.test", typeA).opt(4096, 0, 0, ""), "NOERROR q 0/1/1 opt", ""},
	}
	for bit := range 15 {
		rows = append(rows, protocolRow{"RFC 6891 6.1.4", fmt.Sprintf("EDNS flag %04x", 1<<bit), good.opt(4096, 0, 1<<bit, ""), answered + " opt", ""})
	}
	return rows
}

// versionRows: another version gets BADVERS and the version that we speak,
// whatever else there is; options of another version mean nothing to us.
func versionRows() (rows []protocolRow) {
	const rule, want = "RFC 6891 6.1.3, RFC 8906 3.2.2, 8.2.2", "BADVERS q 0/0/0 opt"
	for _, v := range []byte{1, 2, 17, 127, 128, 255} {
		rows = append(rows, protocolRow{rule, fmt.Sprint("EDNS version ", v), good.opt(4096, v, 0, ""), want, ""})
	}
	v1 := func(name string, msg wire) protocolRow {
		return protocolRow{rule, "EDNS version 1, " + name, msg, want, ""}
	}
	rows = append(rows,
		v1("an unknown option", good.opt(4096, 1, 0, "0064 0000")),
		v1("NSID", good.opt(4096, 1, 0, "0003 0000")),
		v1("a subnet", good.opt(4096, 1, 0, "0008 0004 0001 0000")),
		v1("a bad subnet", good.opt(4096, 1, 0, "0008 0004 0009 ffff")),
		v1("a cookie", good.opt(4096, 1, 0, "000a 0008 0102030405060708")),
		v1("options in no form", good.opt(4096, 1, 0, "ff ff ff")),
		v1("unknown flags", good.opt(4096, 1, 0x7fff, "")),
		v1("a zone of others", wireQuery("www.elsewhere.test", typeA).opt(4096, 1, 0, "")),
		v1("class CH", wireHeader(0, 1).question("www.proto.test", typeA, 3).opt(4096, 1, 0, "")),
		v1("a transfer", wireQuery("proto.test", typeAXFR).opt(4096, 1, 0, "")),
		v1("something after the end", good.opt(4096, 1, 0, "").octets("00")),
	)
	return append(rows,
		protocolRow{"RFC 8906 8.2.9", "EDNS version 1, DO", good.opt(4096, 1, 0x8000, ""), want + " do", ""},
		protocolRow{"RFC 8906 8.2.5, 8.2.6", "EDNS version 1, everything", good.opt(4096, 1, 0xffff, "0064 0000 0003 0000"), want + " do", ""},
		protocolRow{rule, "EDNS version 1, RD", wireHeader(flagRD, 1).question("www.proto.test", typeA, classIN).opt(4096, 1, 0, ""), "BADVERS rd q 0/0/0 opt", ""},
		protocolRow{rule, "EDNS version 1, no question", wireHeader(0).opt(4096, 1, 0, ""), "BADVERS 0/0/0 opt", ""},
	)
}

// optionRows: options that we do not know are ignored and not sent back.
func optionRows() (rows []protocolRow) {
	const rule = "RFC 6891 6.1.2, RFC 8906 3.2.3, 8.2.3"
	opts := func(name, options, want string) protocolRow {
		return protocolRow{rule, name, good.opt(4096, 0, 0, options), answered + " opt" + want, ""}
	}
	for _, code := range []uint16{0, 4, 16, 19, 100, 20292, 26946, 65001, 65534, 65535} {
		rows = append(rows, opts(fmt.Sprint("option ", code), fmt.Sprintf("%04x 0003 010203", code), ""))
	}
	return append(rows,
		opts("NSID", "0003 0000", " [3]"),
		opts("NSID with something in it", "0003 0001 00", " [3]"),
		opts("a subnet of length 0", "0008 0004 0001 0000", " [8]"),
		opts("expire", "0009 0000", ""),
		opts("several", "0003 0000 0008 0004 0001 0000 0009 0000 0064 0000", " [3 8]"),
		opts("several, others before", "0064 0000 0009 0000 0008 0004 0001 0000 0003 0000", " [3 8]"),
		opts("an option twice", "0003 0000 0003 0000", " [3]"),
		opts("500 options", strings.Repeat("fde9 0000", 500), ""),
		opts("an option of 8000 octets", "fde9 1f40"+strings.Repeat("00", 8000), ""),
		protocolRow{"RFC 7828 3.2.1, 3.3.2", "keepalive", good.opt(4096, 0, 0, "000b 0000"), answered + " opt", answered + " opt [11]"},
		protocolRow{"RFC 7871 7.1.2", "a bad subnet", good.opt(4096, 0, 0, "0008 0004 0009 0000"), "FORMERR q 0/0/0 opt", ""},
	)
}

// badOPTRows: OPT is one, of the root, in the additional section, and whole.
func badOPTRows() []protocolRow {
	const rule = "RFC 6891 6.1.1, 6.1.2"
	one := good.opt(1232, 0, 0, "")
	return []protocolRow{
		{rule, "two OPT", one.opt(1232, 0, 0, ""), "FORMERR q 0/0/0 opt", ""},
		{rule, "two OPT of different versions", good.opt(1232, 1, 0, "").opt(1232, 0, 0, ""), "FORMERR q 0/0/0 opt", ""},
		{rule, "three OPT", one.opt(1232, 0, 0, "").opt(1232, 0, 0, ""), "FORMERR q 0/0/0 opt", ""},
		{rule, "OPT of a name", good.optOf("x", 3, 1232, 0, 0, ""), "FORMERR q 0/0/0 opt", ""},
		{rule, "OPT of a name, version 1", good.optOf("x", 3, 1232, 1, 0, ""), "FORMERR q 0/0/0 opt", ""},
		{rule, "OPT in the answer section", good.optOf("", 1, 1232, 0, 0, ""), "FORMERR q 0/0/0", ""},
		{rule, "OPT in the authority section", good.optOf("", 2, 1232, 0, 0, ""), "FORMERR q 0/0/0", ""},
		{rule, "OPT in the authority section of IXFR", wireQuery("proto.test", typeIXFR).optOf("", 2, 1232, 0, 0, ""), "FORMERR q 0/0/0", ""},
		{rule, "OPT longer than the message", one.with(len(one)-1, 1), "FORMERR q 0/0/0", ""},
		{rule, "OPT shorter than what is there", one.octets("0003 0000"), "FORMERR q 0/0/0 opt", ""},
		{rule, "an option of three octets", good.opt(1232, 0, 0, "0003 00"), "FORMERR q 0/0/0 opt", ""},
		{rule, "an option longer than OPT", good.opt(1232, 0, 0, "0003 0001"), "FORMERR q 0/0/0 opt", ""},
		{rule, "an option behind a good one, too long", good.opt(1232, 0, 0, "0003 0000 0064 ffff"), "FORMERR q 0/0/0 opt [3]", ""},
	}
}

// TestProtocol_UDPSize: a reply is as large as client and server take, to the
// octet (RFC 6891 6.2.3 to 6.2.5, RFC 8906 3.2.5). What does not fit leaves TC
// and nothing of the answer (RFC 2181 9), and is whole over TCP.
func TestProtocol_UDPSize(t *testing.T) {
	sizes := []int{500, 511, 512, 513, 600, 1231, 1232, 1233, 4000}
	var zone strings.Builder
	zone.WriteString(protocolZone)
	const around = 12 + 22 + 12 + 11 // header, question, the record's head, OPT
	for _, n := range sizes {
		fmt.Fprintf(&zone, "s%04d TXT %s\n", n, strings.TrimSpace(strings.Repeat(`"`+strings.Repeat("x", 255)+`" `, (n-around)/256)+
			`"`+strings.Repeat("x", (n-around)%256-1)+`"`))
	}
	r := protocolServer(t, zone.String())
	overUDP, overTCP := udpPeer(t, r), tcpPeer(t, r)
	for _, n := range sizes {
		query := wireQuery(fmt.Sprintf("s%04d.proto.test", n), typeTXT)
		if got := overTCP.ask(query.opt(512, 0, 0, ""), true); got != "NOERROR aa q 1/0/0 opt" || overTCP.last.size != n {
			t.Errorf("%d octets over TCP: %s, %d octets", n, got, overTCP.last.size)
		}
		for _, takes := range []int{0, 1, 511, 512, 513, 600, 1000, 1231, 1232, 1233, 1472, 4096, 65535} {
			want := "NOERROR aa tc q 0/0/0 opt"
			if n <= min(max(takes, 512), defaultUDPSize) {
				want = "NOERROR aa q 1/0/0 opt"
			}
			if got := overUDP.ask(query.opt(uint16(takes), 0, 0, ""), true); got != want {
				t.Errorf("%d octets to a client that takes %d:\n got %s\nwant %s", n, takes, got, want)
			}
		}
		want := "NOERROR aa tc q 0/0/0"
		if n-11 <= 512 {
			want = "NOERROR aa q 1/0/0"
		}
		if got := overUDP.ask(query, true); got != want {
			t.Errorf("%d octets to a client without EDNS:\n got %s\nwant %s", n-11, got, want)
		}
	}
}
