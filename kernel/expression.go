package kernel

import (
	"bytes"
	"strings"

	"golang.org/x/sys/unix"
)

// expression is one expression of a rule of somebody else. What is not known to
// us has a name and nothing more.
type expression struct {
	name         string // as the kernel calls it
	to, from     uint32 // registers; 0: none
	second       uint32 // of two that are joined
	key          uint32 // of meta and ct
	op           uint32 // of cmp, bitwise and range
	inverted     bool
	base, offset uint32 // of payload
	width        uint32 // of payload and bitwise
	value, mask  []byte // cmp: value; bitwise: mask and value (xor); range: mask to value
	set          string
	verdict      bool
	code         int32
	chain        string
	target       string // of xtables
	revision     uint32
	info         []byte
}

// Attributes that x/sys does not name, and numbers (linux/netfilter/nf_tables.h).
const (
	nftaBitwiseSreg2 = 8
	nftaRangeOp      = 2
	nftaRangeFrom    = 3
	nftaRangeTo      = 4

	bitwiseMaskXor = 0
	bitwiseAnd     = 3
	bitwiseOr      = 4

	codeAccept   = 1
	codeDrop     = 0
	codeQueue    = 3
	codeContinue = -1
	codeReturn   = -5
)

// parseExpression reads an attribute NFTA_LIST_ELEM of a rule.
func parseExpression(b []byte) (e expression) {
	var data []byte
	for kind, v := range attributes(b) {
		switch kind {
		case unix.NFTA_EXPR_NAME:
			e.name = text(v)
		case unix.NFTA_EXPR_DATA:
			data = v
		}
	}
	a := map[uint16][]byte{}
	for kind, v := range attributes(data) {
		a[kind] = v
	}
	number := func(kind uint16) uint32 { return uint32(bigNumber(a[kind])) }
	switch e.name {
	case "meta":
		e.to, e.key, e.from = number(unix.NFTA_META_DREG), number(unix.NFTA_META_KEY), number(unix.NFTA_META_SREG)
	case "ct":
		e.to, e.key, e.from = number(unix.NFTA_CT_DREG), number(unix.NFTA_CT_KEY), number(unix.NFTA_CT_SREG)
	case "payload":
		e.to, e.base, e.offset, e.width = number(unix.NFTA_PAYLOAD_DREG), number(unix.NFTA_PAYLOAD_BASE), number(unix.NFTA_PAYLOAD_OFFSET), number(unix.NFTA_PAYLOAD_LEN)
	case "cmp":
		e.from, e.op = number(unix.NFTA_CMP_SREG), number(unix.NFTA_CMP_OP)
		e.value, _ = parseData(a[unix.NFTA_CMP_DATA])
	case "range":
		e.from, e.op = number(1), number(nftaRangeOp)
		e.mask, _ = parseData(a[nftaRangeFrom])
		e.value, _ = parseData(a[nftaRangeTo])
	case "bitwise":
		e.from, e.to, e.width, e.op, e.second = number(unix.NFTA_BITWISE_SREG), number(unix.NFTA_BITWISE_DREG), number(unix.NFTA_BITWISE_LEN), number(nftaBitwiseOp), number(nftaBitwiseSreg2)
		e.mask, _ = parseData(a[unix.NFTA_BITWISE_MASK])
		e.value, _ = parseData(a[unix.NFTA_BITWISE_XOR])
	case "immediate":
		e.to = number(unix.NFTA_IMMEDIATE_DREG)
		e.value, _ = parseData(a[unix.NFTA_IMMEDIATE_DATA])
		e.code, e.chain, e.verdict = parseVerdict(a[unix.NFTA_IMMEDIATE_DATA])
	case "lookup":
		e.set, e.from, e.to = text(a[unix.NFTA_LOOKUP_SET]), number(unix.NFTA_LOOKUP_SREG), number(unix.NFTA_LOOKUP_DREG)
		e.inverted = number(unix.NFTA_LOOKUP_FLAGS)&unix.NFT_LOOKUP_F_INV != 0
		_, e.verdict = a[unix.NFTA_LOOKUP_DREG]
		e.verdict = e.verdict && e.to == 0
	case "nat":
		e.key = number(unix.NFTA_NAT_TYPE)
	case "match", "target": // both have their attributes in the same places
		e.target, e.revision, e.info = text(a[1]), number(2), bytes.Clone(a[3])
	}
	e.value, e.mask = bytes.Clone(e.value), bytes.Clone(e.mask) // they are of the buffer
	return e
}

// parseVerdict reads data that is a verdict.
func parseVerdict(b []byte) (code int32, chain string, ok bool) {
	for kind, v := range attributes(b) {
		if kind != unix.NFTA_DATA_VERDICT {
			continue
		}
		ok = true
		for kind, v := range attributes(v) {
			switch kind {
			case unix.NFTA_VERDICT_CODE:
				code = int32(bigNumber(v))
			case unix.NFTA_VERDICT_CHAIN:
				chain = text(v)
			}
		}
	}
	return code, chain, ok
}

// writes gives the bits of the packet mark and of the conntrack mark that a
// target of xtables may change (linux/netfilter/xt_mark.h, xt_connmark.h).
func (e *expression) writes() (packet, connection uint32) {
	word := func(i int) uint32 {
		if len(e.info) < 4*i+4 {
			return 0xffffffff
		}
		return native.Uint32(e.info[4*i:])
	}
	switch {
	case e.target == "MARK" && e.revision == 2:
		return word(0) | word(1), 0
	case e.target == "CONNMARK" && (e.revision == 1 || e.revision == 2) && len(e.info) > 12:
		switch e.info[12] {
		case 0: // set
			return 0, word(0) | word(1)
		case 1: // save
			return 0, word(1) | word(2)
		}
		return word(1) | word(2), 0 // restore
	case e.target == "MARK":
		return 0xffffffff, 0
	case e.target == "CONNMARK":
		return 0xffffffff, 0xffffffff
	case e.target == "TPROXY" && len(e.info) >= 8:
		return word(0) | word(1), 0
	}
	return 0, 0
}

// conntrackStates gives the states that a match of xtables asks for, if it asks
// for nothing else (linux/netfilter/xt_conntrack.h, xt_state.h).
func (e *expression) conntrackStates() (states uint32, inverted, ok bool) {
	const matchFlags, invertFlags, stateMask, stateFlag = 146, 148, 150, 1
	switch {
	case e.target == "state" && len(e.info) >= 4:
		return native.Uint32(e.info), false, true
	case e.target == "conntrack" && e.revision >= 2 && len(e.info) >= stateMask+2:
		return uint32(native.Uint16(e.info[stateMask:])), native.Uint16(e.info[invertFlags:])&stateFlag != 0, native.Uint16(e.info[matchFlags:]) == stateFlag
	}
	return 0, false, false
}

// programOf says which well-known program makes chains of such names.
func programOf(k chainKey) string {
	has := func(s string) bool { return strings.HasPrefix(k.chain, s) }
	switch {
	case has("DOCKER"), strings.HasPrefix(k.name, "docker-bridges"):
		return "docker"
	case k.name == "firewalld":
		return "firewalld"
	case has("ts-input"), has("ts-forward"), has("ts-postrouting"):
		return "tailscale"
	case has("mwan3_"):
		return "mwan3"
	case has("ufw-"), has("ufw6-"):
		return "ufw"
	case has("KUBE-"), has("cali-"), has("CILIUM_"), k.name == "kube-proxy":
		return "kubernetes"
	case has("LIBVIRT_"), k.name == "libvirt_network":
		return "libvirt"
	case k.name == "fw4":
		return "fw4"
	}
	return ""
}
