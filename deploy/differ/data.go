package main

import "strings"

// dataTypes are the types that are only data: they do not change how a name is
// found.
var dataTypes = []uint16{typeA, typeAAAA, typeMX, typeMX, typeTXT, typeTXT, typeSRV, typeSRV, typeNAPTR, typeSVCB, typeHTTPS, typeHTTPS,
	typeCAA, typePTR, typeTLSA, typeSSHFP, typeLOC, typeRP, typeAFSDB, typeKX, typeSPF, typeURI, firstAlien, firstAlien + 1}

// data makes the RDATA of a type.
func (b *builder) data(rtype uint16) string {
	switch rtype {
	case typeA:
		return b.v4()
	case typeAAAA:
		return b.v6()
	case typeMX, typeAFSDB, typeKX:
		return u16(b.IntN(20)) + string(b.target())
	case typeTXT, typeSPF:
		return b.text()
	case typeSRV:
		return u16(b.IntN(3)) + u16(b.IntN(100)) + u16(5060) + string(b.target())
	case typeNAPTR:
		return u16(b.IntN(3)) + u16(10) + str("s") + str("SIP+D2T") + str("") + string(b.target())
	case typeSVCB, typeHTTPS:
		return b.service()
	case typeCAA:
		return "\x00" + str(pick(b.Rand, []string{"issue", "issuewild", "iodef"})) + pick(b.Rand, []string{";", "ca.example", "mailto:x@y.example"})
	case typePTR:
		return string(b.target())
	case typeTLSA:
		return "\x03\x01\x01" + b.octets(32)
	case typeSSHFP:
		return "\x04\x02" + b.octets(32)
	case typeLOC:
		return "\x00\x12\x16\x13" + u32(1<<31+uint32(b.IntN(90*3_600_000))) + u32(1<<31-uint32(b.IntN(180*3_600_000))) + u32(10_000_000+100*uint32(b.IntN(1000)))
	case typeRP:
		return string(b.target()) + string(b.target())
	case typeURI:
		return u16(1) + u16(2) + "https://www.example.com/"
	}
	least := 1
	if b.traits&hasOdd != 0 {
		least = 0
	}
	return b.octets(least + b.IntN(40))
}

func (b *builder) octets(n int) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(b.Uint32())
	}
	return string(out)
}

// text makes strings: short, long, many, empty and of odd octets.
func (b *builder) text() string {
	switch b.IntN(6) {
	case 0:
		return str("")
	case 1:
		return str(strings.Repeat("long ", 51))
	case 2:
		return strings.Repeat(str("one of many"), 1+b.IntN(30))
	case 3:
		return str(`quote " backslash \ semicolon ; and space`)
	}
	return str("v=spf1 -all") + str(pick(b.Rand, alphabet))
}

// service makes SVCB data: an alias, or a service with parameters in order of
// their keys (RFC 9460 2.2).
func (b *builder) service() string {
	if chance(b.Rand, 25) {
		return u16(0) + string(b.target())
	}
	target := root // the owner itself
	if chance(b.Rand, 60) {
		target = b.target()
	}
	data := u16(1+b.IntN(3)) + string(target)
	param := func(key int, value string) {
		if chance(b.Rand, 50) {
			data += u16(key) + u16(len(value)) + value
		}
	}
	param(1, str("h2")+str("h3"))
	param(3, u16(8443))
	param(4, b.v4()+b.v4())
	param(6, b.v6())
	param(667, "odd value")
	return data
}
