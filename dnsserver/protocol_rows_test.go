package dnsserver

import (
	"fmt"
	"strings"
)

// answered is what a good query for A at www.proto.test gets.
const answered = "NOERROR aa q 1/0/0"

var good = wireQuery("www.proto.test", typeA)

// headerRows: flags of a query that mean nothing to us are ignored, and none
// but RD comes back.
func headerRows() (rows []protocolRow) {
	const rule = "RFC 8906 3.1.3, 8.1.3"
	flags := []struct {
		name string
		bit  uint16
	}{{"AA", flagAA}, {"TC", flagTC}, {"RD", flagRD}, {"RA", flagRA}, {"Z", flagZ}, {"AD", flagAD}, {"CD", flagCD}}
	for set := range uint16(1 << len(flags)) { // each alone, all together, and all between
		name, bits, want := "flags", uint16(0), answered
		for i, f := range flags {
			if set>>i&1 != 0 {
				name, bits = name+" "+f.name, bits|f.bit
			}
		}
		if bits&flagRD != 0 {
			want = "NOERROR aa rd q 1/0/0"
		}
		rows = append(rows, protocolRow{rule, name, wireHeader(bits, 1).question("www.proto.test", typeA, classIN), want, ""})
	}
	for rcode := uint16(1); rcode < 16; rcode++ {
		rows = append(rows, protocolRow{"RFC 1035 4.1.1: the rcode is part of responses", fmt.Sprint("rcode ", rcode),
			wireHeader(rcode, 1).question("www.proto.test", typeA, classIN), answered, ""})
	}
	return rows
}

// opcodeRows: other kinds than QUERY are not implemented. RD, like the other
// flags, means something in QUERY alone. Only NOTIFY and UPDATE are known to
// start with something like a question, so the others get none back.
func opcodeRows() (rows []protocolRow) {
	const rule, all = "RFC 8906 3.1.4, 8.1.4", flagAA | flagTC | flagRD | flagRA | flagZ | flagAD | flagCD
	for op := uint16(1); op < 16; op++ {
		name, want := fmt.Sprint("opcode ", op), "NOTIMP 0/0/0"
		if op == 4 || op == 5 {
			want = "NOTIMP q 0/0/0"
		}
		rows = append(rows,
			protocolRow{rule, name, wireHeader(opcode(op), 1).question("proto.test", typeSOA, classIN), want, ""},
			protocolRow{rule, name + " with all flags", wireHeader(opcode(op)|all, 1).question("proto.test", typeSOA, classIN), want, ""},
			protocolRow{rule, name + ", a header alone", wireHeader(opcode(op) | all), "NOTIMP 0/0/0", ""},
			protocolRow{"RFC 6891 6.1.1", name + " with EDNS", wireHeader(opcode(op), 1).question("proto.test", typeSOA, classIN).opt(4096, 0, 0, ""), want + " opt [15]", ""},
			protocolRow{"RFC 6891 6.1.3", name + " with EDNS version 1", wireHeader(opcode(op)).opt(4096, 1, 0, ""), "BADVERS 0/0/0 opt", ""},
			protocolRow{rule, name + " and what no question is", wireHeader(opcode(op), 1).octets("ff ff"), "NOTIMP 0/0/0", ""},
		)
	}
	return append(rows,
		protocolRow{"RFC 1996 3.7", "NOTIFY with the SOA", wireHeader(opcode(4)|flagAA, 1).question("proto.test", typeSOA, classIN).record(1), "NOTIMP q 0/0/0", ""},
		protocolRow{"RFC 2136 3.1", "UPDATE with records", wireHeader(opcode(5), 1).question("proto.test", typeSOA, classIN).record(1).record(2).record(3), "NOTIMP q 0/0/0", ""},
	)
}

// sectionRows: what the counts of a query say.
func sectionRows() []protocolRow {
	header, two := wireHeader(0), wireHeader(0, 2).question("www.proto.test", typeA, classIN)
	return []protocolRow{
		{"RFC 8906 7", "a header alone", header, "FORMERR 0/0/0", ""},
		{"RFC 8906 7", "a header alone, RD", wireHeader(flagRD), "FORMERR rd 0/0/0", ""},
		{"RFC 8906 7", "a header alone that promises a question", wireHeader(0, 1), "FORMERR 0/0/0", ""},
		{"RFC 8906 7", "a header alone that promises all there can be", wireHeader(0, 65535, 65535, 65535, 65535), "FORMERR 0/0/0", ""},
		{"RFC 6891 6.1.1", "no question, but EDNS", wireHeader(0).opt(1232, 0, 0, ""), "FORMERR 0/0/0 opt", ""},
		{"RFC 9619 4", "QDCOUNT 2", two.question("mail.proto.test", typeA, classIN), "FORMERR 0/0/0", ""},
		{"RFC 9619 4", "QDCOUNT 2, one name and two types", two.octets("c00c 001c 0001"), "FORMERR 0/0/0", ""},
		{"RFC 9619 4", "QDCOUNT 2, EDNS", two.question("mail.proto.test", typeA, classIN).opt(1232, 0, 0, ""), "FORMERR 0/0/0 opt", ""},
		{"RFC 9619 4", "QDCOUNT 2, one question", two, "FORMERR 0/0/0", ""},
		{"RFC 9619 4", "QDCOUNT 65535, one question", wireHeader(0, 65535).question("www.proto.test", typeA, classIN), "FORMERR 0/0/0", ""},
		{"RFC 1035 4.1.1", "QDCOUNT 0 and a question", wireHeader(0).question("www.proto.test", typeA, classIN), "FORMERR 0/0/0", ""},
		{"RFC 1035 4.1.1", "an answer in a query", good.record(1), "FORMERR q 0/0/0", ""},
		{"RFC 1035 4.1.1", "an authority in a query", good.record(2), "FORMERR q 0/0/0", ""},
		{"RFC 1035 4.1.1", "an answer that is not there", good.with(7, 1), "FORMERR q 0/0/0", ""},
		{"RFC 1035 4.1.1", "65535 additional records that are not there", good.with(10, 255).with(11, 255), "FORMERR q 0/0/0", ""},
		{"RFC 1035 4.1.1", "an additional record that means nothing to us", good.record(3), answered, ""},
		{"RFC 6891 6.1.1: OPT may stand anywhere in the section", "a record before OPT", good.record(3).opt(1232, 0, 0, ""), answered + " opt", ""},
		{"RFC 6891 6.1.1: OPT may stand anywhere in the section", "a record behind OPT", good.opt(1232, 0, 0, "").record(3), answered + " opt", ""},
		{"RFC 1035 4.1", "something after the end", good.octets("00"), "FORMERR q 0/0/0", ""},
		{"RFC 1035 4.1", "a second message after the end", append(good[:len(good):len(good)], good...), "FORMERR q 0/0/0", ""},
		{"RFC 6891 6.1.1", "something after the end, EDNS", good.opt(1232, 0, 0, "").octets("00 01"), "FORMERR q 0/0/0 opt", ""},
	}
}

// cutRows: a message that ends too early, at every octet. Whatever could be
// read before is in the reply.
func cutRows() (rows []protocolRow) {
	whole := wireHeader(flagRD, 1).question("www.proto.test", typeA, classIN).opt(1232, 0, 0, "0003 0000")
	question := len(good)
	for n := range len(whole) {
		row := protocolRow{rule: "RFC 8906 7", name: fmt.Sprint("cut to octets: ", n), msg: whole[:n:n]}
		switch {
		case n < headerSize:
			row.rule, row.want, row.tcp = "RFC 1035 4.1.1: nothing to reply to", "silent", "closed"
		case n < question:
			row.want = "FORMERR rd 0/0/0"
		default:
			row.want = "FORMERR rd q 0/0/0"
		}
		rows = append(rows, row)
	}
	return rows
}

// classRows: we serve class IN. Class ANY is refused as well: it may only get
// an answer that is not authoritative (RFC 1034 4.3.2), which is no use.
func classRows() (rows []protocolRow) {
	for _, c := range []struct {
		name  string
		class uint16
	}{{"0", 0}, {"2", 2}, {"CH", 3}, {"HS", 4}, {"5", 5}, {"NONE", 254}, {"ANY", 255}, {"65535", 65535}} {
		for _, name := range []string{"www.proto.test", "none.proto.test", "www.elsewhere.test"} {
			rows = append(rows, protocolRow{"RFC 1035 3.2.4, 3.2.5; RFC 8906 7", "class " + c.name + " of " + name,
				wireHeader(0, 1).question(name, typeA, c.class), "REFUSED q 0/0/0", ""})
		}
	}
	return append(rows,
		protocolRow{"RFC 4892: told to nobody", "version.bind", wireHeader(0, 1).question("version.bind", typeTXT, 3), "REFUSED q 0/0/0", ""},
		protocolRow{"RFC 4892: NSID says who we are", "id.server", wireHeader(0, 1).question("id.server", typeTXT, 3), "REFUSED q 0/0/0", ""},
		protocolRow{"RFC 8906 7", "a zone of others", wireQuery("www.elsewhere.test", typeA), "REFUSED q 0/0/0", ""},
		protocolRow{"RFC 8906 7", "the root", wireQuery("", typeNS), "REFUSED q 0/0/0", ""},
	)
}

// transferRows: there are no transfers, and each refusal says which way. ANY is
// no transfer; over UDP it is answered with one set, over TCP with all.
func transferRows() []protocolRow {
	soa := wireQuery("proto.test", typeIXFR).with(9, 1).octets("c00c 0006 0001 0000003c 0016 00 00 00000001 00000e10 00000258 00015180 0000003c")
	return []protocolRow{
		{"RFC 5936 2.2.1, 4.2", "AXFR of our zone", wireQuery("proto.test", typeAXFR), "NOTIMP q 0/0/0", "REFUSED q 0/0/0"},
		{"RFC 5936 2.2.1, 4.2", "AXFR of a name in our zone", wireQuery("www.proto.test", typeAXFR), "NOTIMP q 0/0/0", "NOTAUTH q 0/0/0"},
		{"RFC 5936 2.2.1, 4.2", "AXFR of a zone of others", wireQuery("elsewhere.test", typeAXFR), "NOTIMP q 0/0/0", "NOTAUTH q 0/0/0"},
		{"RFC 1995 2, RFC 5936 2.2.1", "IXFR of our zone, without the SOA", wireQuery("proto.test", typeIXFR), "REFUSED q 0/0/0", ""},
		{"RFC 1995 3, RFC 5936 2.2.1", "IXFR of our zone, with the SOA", soa, "REFUSED q 0/0/0", ""},
		{"RFC 1995 3, RFC 6891 6.1.1", "IXFR of our zone, with the SOA and EDNS", soa.opt(1232, 0, 0, ""), "REFUSED q 0/0/0 opt [15]", ""},
		{"RFC 5936 2.2.1", "IXFR of a zone of others", wireQuery("elsewhere.test", typeIXFR), "NOTAUTH q 0/0/0", ""},
		{"RFC 8482 4.1, 4.4", "ANY of our zone", wireQuery("proto.test", typeANY), "NOERROR aa q 1/0/0", "NOERROR aa q 4/0/2"},
		{"RFC 8482 4.1, 4.4", "ANY of a name", wireQuery("www.proto.test", typeANY), answered, ""},
		{"RFC 8482 4.1, 4.4", "ANY of an alias", wireQuery("alias.proto.test", typeANY), answered, ""},
		{"RFC 8482 4.1, RFC 2308 2.2", "ANY of an empty non-terminal", wireQuery("b.ent.proto.test", typeANY), "NOERROR aa q 0/1/0", ""},
		{"RFC 8482 4.1, RFC 2308 2.1", "ANY of a name that is missing", wireQuery("none.proto.test", typeANY), "NXDOMAIN aa q 0/1/0", ""},
		{"RFC 8482 4.1", "ANY below a cut", wireQuery("www.child.proto.test", typeANY), "NOERROR q 0/1/1", ""},
	}
}

// tsig adds a TSIG record of a key and the length of a MAC of 32 octets, and
// what is behind the MAC (RFC 8945 4.2).
func (w wire) tsig(key string, class uint16, mac uint16, rest string) wire {
	data := wire{}.name("hmac-sha256").octets("000065920080 012c").u16(mac).octets(strings.Repeat("ab", 32) + rest)
	w = w.counted(3).name(key).u16(typeTSIG, class, 0, 0, uint16(len(data)))
	return append(w, data...)
}

// signedRows: we have no keys, so whoever signs a query does it with one that
// we do not know. Such a reply has a TSIG record with the error, not signed.
func signedRows() []protocolRow {
	const rule, rest, refused = "RFC 8945 5.2.1, 5.3.2", "5172 0000 0000", "NOTAUTH q 0/0/1"
	signed := func(w wire) wire { return w.tsig("key", classANY, 32, rest) }
	long := strings.Repeat("k", 63) + "." + strings.Repeat("k", 63) + "." + strings.Repeat("k", 63) + "." + strings.Repeat("k", 61)
	return []protocolRow{
		{rule, "signed", signed(good), refused, ""},
		{rule, "signed, EDNS before", signed(good.opt(1232, 0, 0, "")), refused + " opt", ""},
		{rule, "signed, a zone of others", signed(wireQuery("www.elsewhere.test", typeA)), refused, ""},
		{rule, "signed, a transfer", signed(wireQuery("proto.test", typeAXFR)), refused, ""},
		{rule, "signed, with other data", good.tsig("key", classANY, 32, "5172 0012 0006 000065920080"), refused, ""},
		{rule, "signed, a key with a name as long as can be", good.tsig(long, classANY, 32, rest), refused, ""},
		{rule, "signed, too long a key and question for UDP", wireQuery(strings.Repeat("b.", 120)+"proto.test", typeA).tsig(long, classANY, 32, rest), "NOTAUTH q 0/0/0", refused},
		{"RFC 6891 6.1.3", "signed, EDNS version 1", signed(good.opt(1232, 1, 0, "")), "BADVERS q 0/0/0 opt", ""},
		{"RFC 8906 3.1.4", "signed, opcode 2", signed(wireHeader(opcode(2), 1).question("proto.test", typeSOA, classIN)), "NOTIMP 0/0/0", ""},
		{"RFC 8945 5.1", "TSIG before OPT", signed(good).opt(1232, 0, 0, ""), "FORMERR q 0/0/0", ""},
		{"RFC 8945 5.1", "two TSIG", signed(signed(good)), "FORMERR q 0/0/0", ""},
		{"RFC 8945 4.2", "TSIG of class IN", good.tsig("key", classIN, 32, rest), "FORMERR q 0/0/0", ""},
		{"RFC 8945 4.2", "TSIG with a MAC longer than it is", good.tsig("key", classANY, 33, rest), "FORMERR q 0/0/0", ""},
		{"RFC 8945 4.2", "TSIG with a MAC past its end", good.tsig("key", classANY, 0xffff, rest), "FORMERR q 0/0/0", ""},
		{"RFC 8945 4.2", "TSIG that ends in the id", good.tsig("key", classANY, 32, "51"), "FORMERR q 0/0/0", ""},
		{"RFC 8945 4.2", "TSIG with other data that is not there", good.tsig("key", classANY, 32, "5172 0000 0001"), "FORMERR q 0/0/0", ""},
	}
}
