package kernel

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"golang.org/x/sys/unix"
)

// nfgenSize is the length of a struct nfgenmsg.
const nfgenSize = 4

const familyInet = unix.NFPROTO_INET

// Attributes of nf_tables.h that package unix does not name.
const (
	nftaChainFlags = 10
	nftaObjectUser = 8
)

// header begins a message on something of a table, told by its ID.
func header(table string, attribute uint16) *wire {
	w := &wire{b: make([]byte, 0, 128)}
	family, name := familyAndName(table)
	w.b = append(w.b, family, unix.NFNETLINK_V0, 0, 0)
	w.text(attribute, name)
	return w
}

func wireTable(table string) []byte { return header(table, unix.NFTA_TABLE_NAME).b }

// hookPoints are the numbers of the hooks of family inet.
var hookPoints = map[string]uint32{"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}

// wireChain writes a chain; its policy is always accept.
func wireChain(table, name string, hook *Hook) []byte {
	w := header(table, unix.NFTA_CHAIN_TABLE)
	w.text(unix.NFTA_CHAIN_NAME, name)
	if hook != nil {
		at := w.open(unix.NFTA_CHAIN_HOOK)
		w.u32(unix.NFTA_HOOK_HOOKNUM, hookPoints[hook.Point])
		w.u32(unix.NFTA_HOOK_PRIORITY, uint32(hook.Priority))
		w.end(at)
		w.text(unix.NFTA_CHAIN_TYPE, hook.Type)
		w.u32(unix.NFTA_CHAIN_POLICY, 1)
	}
	return w.b
}

func (h *Hook) check() error {
	if h == nil {
		return nil
	}
	if _, ok := hookPoints[h.Point]; !ok {
		return fmt.Errorf("there is no hook %q", h.Point)
	}
	if h.Type != "filter" && h.Type != "nat" && h.Type != "route" {
		return fmt.Errorf("there is no type of chain %q", h.Type)
	}
	return nil
}

// wireRule writes a new rule. It goes before the one with the handle next, or
// with 0 to the end.
func wireRule(table, chain string, r *ruleWish, next uint64) []byte {
	w := header(table, unix.NFTA_RULE_TABLE)
	w.text(unix.NFTA_RULE_CHAIN, chain)
	at := w.open(unix.NFTA_RULE_EXPRESSIONS)
	w.b = append(w.b, r.exprs...)
	w.end(at)
	if next != 0 {
		w.u64(unix.NFTA_RULE_POSITION, next)
	}
	w.put(unix.NFTA_RULE_USERDATA, r.userData())
	return w.b
}

func wireOldRule(table, chain string, handle uint64) []byte {
	w := header(table, unix.NFTA_RULE_TABLE)
	w.text(unix.NFTA_RULE_CHAIN, chain)
	w.u64(unix.NFTA_RULE_HANDLE, handle)
	return w.b
}

func wireObject(table string, o objectWish) []byte {
	w := header(table, unix.NFTA_OBJ_TABLE)
	w.text(unix.NFTA_OBJ_NAME, o.name)
	w.u32(unix.NFTA_OBJ_TYPE, o.kind)
	at := w.open(unix.NFTA_OBJ_DATA)
	if o.kind == unix.NFT_OBJECT_CT_HELPER {
		w.text(unix.NFTA_CT_HELPER_NAME, o.helper.Kind)
		w.u8(unix.NFTA_CT_HELPER_L4PROTO, o.helper.Protocol)
	}
	w.end(at)
	w.put(nftaObjectUser, append([]byte{userMark, 8}, binary.BigEndian.AppendUint64(nil, o.sum)...))
	return w.b
}

func wireName(table string, tableAttribute, nameAttribute uint16, name string) []byte {
	w := header(table, tableAttribute)
	w.text(nameAttribute, name)
	return w.b
}

// Data that nftables keeps for its users are attributes of one octet for the
// type and one for the length. Those of nft are below 16; ours holds a checksum
// by which we know our own again.
const (
	userComment = 0 // of a rule: NFTNL_UDATA_RULE_COMMENT, a text that ends with a zero
	userMark    = 120

	// Of a set: NFTNL_UDATA_SET_KEYBYTEORDER and _DATABYTEORDER, for listings.
	userKeyOrder  = 0
	userDataOrder = 1
	orderHost     = 1
	orderNetwork  = 2
)

// commentLength is how long a comment may be that nft shows.
const commentLength = 120

func (r *ruleWish) userData() []byte {
	var b []byte
	if tell := cutText(r.tell, commentLength); tell != "" {
		b = append(b, userComment, byte(len(tell)+1))
		b = append(append(b, tell...), 0)
	}
	b = append(b, userMark, 8)
	return binary.BigEndian.AppendUint64(b, r.sum)
}

// cutText cuts a text to so many octets, not in the middle of a letter.
func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xc0 == 0x80 {
		most--
	}
	return s[:most]
}

// markOf finds our checksum in what nftables keeps for its users.
func markOf(b []byte) (sum uint64, ok bool) {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		if b[0] == userMark && b[1] == 8 {
			return binary.BigEndian.Uint64(b[2:]), true
		}
		b = b[2+int(b[1]):]
	}
	return 0, false
}

func setUserData(s *Set) (b []byte) {
	order := func(kind byte, list []Type) {
		if len(list) == 1 {
			o := uint32(orderNetwork)
			if !types[list[0]].order {
				o = orderHost
			}
			b = append(b, kind, 4)
			b = native.AppendUint32(b, o)
		}
	}
	order(userKeyOrder, s.Key)
	order(userDataOrder, s.Data)
	return binary.BigEndian.AppendUint64(append(b, userMark, 8), s.sum())
}

// sum is a checksum of what cannot be changed of a set.
func (s *Set) sum() uint64 {
	what := fmt.Appendf(nil, "set %v %v %v %v %v %v %v %v", s.Key, s.Data, s.Verdicts, s.Interval, s.Dynamic, s.counts, s.Timeout, s.Size)
	if s.Counted {
		what = append(what, " counted"...)
	}
	return checksum(what)
}

func checksum(parts ...[]byte) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write(p) // never fails
		_, _ = h.Write([]byte{0, 0xff})
	}
	return h.Sum64()
}
