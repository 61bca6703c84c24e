package kernel

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// Ruleset is all of nftables in a namespace, whoever made it, as far as is
// needed to tell what others do to packets that are ours too: [Ruleset.Meet].
// What iptables has made over nftables (iptables-nft) is in it.
type Ruleset struct {
	chains map[chainKey]*foreignChain
	sets   map[setKey]*foreignSet
	base   []*foreignChain // those with a hook, in the order in which a packet comes to them
}

// tableKey names a table: there may be one of a name in each family.
type tableKey struct {
	family byte
	name   string
}

type chainKey struct {
	tableKey
	chain string
}

type setKey struct {
	tableKey
	set string
}

// foreignChain is a chain, and its hook if it has one.
type foreignChain struct {
	chainKey
	kind     string // filter, nat, route; "": no hook
	point    uint32
	priority int32
	drops    bool // its policy
	rules    []foreignRule
}

type foreignRule struct {
	handle uint64
	does   []expression
}

// foreignSet is a set, map or map of verdicts; elements are read of those alone
// that a rule looks at with what we can know of a packet.
type foreignSet struct {
	verdicts, interval, mapped bool
	width                      int // of the key
	list                       []Element
	read                       bool
}

// mostElements is up to how many elements a set is looked at.
const mostElements = 10000

// familyNames are those of nft.
var familyNames = map[byte]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_INET: "inet", unix.NFPROTO_ARP: "arp", unix.NFPROTO_BRIDGE: "bridge", unix.NFPROTO_NETDEV: "netdev"}

func (k tableKey) String() string { return familyNames[k.family] + " " + k.name }
func (k chainKey) String() string { return k.tableKey.String() + " " + k.chain }

// ReadRuleset reads nftables in the calling thread's namespace. It needs
// CAP_NET_ADMIN, and changes nothing.
func ReadRuleset() (*Ruleset, error) {
	s, err := openSocket(unix.NETLINK_NETFILTER, 0, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	defer s.close()
	for try := 1; ; try++ {
		r := &Ruleset{chains: map[chainKey]*foreignChain{}, sets: map[setKey]*foreignSet{}}
		err := r.readAll(s)
		if errors.Is(err, errInterrupted) && try < routingMost {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading nftables: %w", err)
		}
		return r, nil
	}
}

// readAll asks for everything, of all families.
func (r *Ruleset) readAll(s *socket) error {
	for _, d := range []struct {
		kind uint16
		take func(family byte, a map[uint16][]byte)
	}{{unix.NFT_MSG_GETCHAIN, r.takeChain}, {unix.NFT_MSG_GETSET, r.takeSet}, {unix.NFT_MSG_GETRULE, r.takeRule}} {
		err := s.ask(nft16(d.kind), unix.NLM_F_DUMP, []byte{unix.NFPROTO_UNSPEC, 0, 0, 0}, func(_ uint16, b []byte) {
			if len(b) >= nfgenSize {
				d.take(b[0], attributesOf(b))
			}
		})
		if err != nil {
			return err
		}
	}
	r.sort()
	for _, key := range r.asked() {
		if err := r.readSet(s, key); err != nil {
			return err
		}
	}
	return nil
}

// sort puts the hooks in the order of a packet.
func (r *Ruleset) sort() {
	for _, c := range r.chains {
		if c.kind != "" {
			r.base = append(r.base, c)
		}
	}
	slices.SortFunc(r.base, func(a, b *foreignChain) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.String(), b.String()))
	})
}

func (r *Ruleset) takeChain(family byte, a map[uint16][]byte) {
	c := &foreignChain{chainKey: chainKey{tableKey{family, text(a[unix.NFTA_CHAIN_TABLE])}, text(a[unix.NFTA_CHAIN_NAME])}}
	if hook, ok := a[unix.NFTA_CHAIN_HOOK]; ok {
		c.kind = text(a[unix.NFTA_CHAIN_TYPE])
		for kind, v := range attributes(hook) {
			switch kind {
			case unix.NFTA_HOOK_HOOKNUM:
				c.point = uint32(bigNumber(v))
			case unix.NFTA_HOOK_PRIORITY:
				c.priority = int32(bigNumber(v))
			}
		}
		c.drops = len(a[unix.NFTA_CHAIN_POLICY]) == 4 && bigNumber(a[unix.NFTA_CHAIN_POLICY]) == 0
	}
	r.chains[c.chainKey] = c
}

func (r *Ruleset) takeSet(family byte, a map[uint16][]byte) {
	flags := uint32(bigNumber(a[unix.NFTA_SET_FLAGS]))
	r.sets[setKey{tableKey{family, text(a[unix.NFTA_SET_TABLE])}, text(a[unix.NFTA_SET_NAME])}] = &foreignSet{
		mapped:   flags&unix.NFT_SET_MAP != 0,
		verdicts: flags&unix.NFT_SET_MAP != 0 && uint32(bigNumber(a[unix.NFTA_SET_DATA_TYPE])) == unix.NFT_DATA_VERDICT,
		interval: flags&unix.NFT_SET_INTERVAL != 0,
		width:    int(bigNumber(a[unix.NFTA_SET_KEY_LEN])),
	}
}

func (r *Ruleset) takeRule(family byte, a map[uint16][]byte) {
	c := r.chains[chainKey{tableKey{family, text(a[unix.NFTA_RULE_TABLE])}, text(a[unix.NFTA_RULE_CHAIN])}]
	if c == nil {
		return // of a chain that came after we read them
	}
	rule := foreignRule{handle: bigNumber(a[unix.NFTA_RULE_HANDLE])}
	for kind, v := range attributes(a[unix.NFTA_RULE_EXPRESSIONS]) {
		if kind == unix.NFTA_LIST_ELEM {
			rule.does = append(rule.does, parseExpression(v))
		}
	}
	c.rules = append(c.rules, rule)
}

// asked gives the sets that rules look something up in, but for our own.
func (r *Ruleset) asked() (list []setKey) {
	seen := map[setKey]bool{}
	for _, c := range r.chains {
		for _, rule := range c.rules {
			for _, e := range rule.does {
				key := setKey{c.tableKey, e.set}
				if e.name == "lookup" && r.sets[key] != nil && !seen[key] && !c.ours() {
					seen[key] = true
					list = append(list, key)
				}
			}
		}
	}
	return list
}

func (k tableKey) ours() bool {
	id := idOf(k.family, k.name)
	return slices.ContainsFunc(owners(), func(owner string) bool { return belongs(id, owner) })
}

// readSet reads the elements of a set, unless they are many: then it is not
// known what is in it.
func (r *Ruleset) readSet(s *socket, key setKey) error {
	set := r.sets[key]
	w := header(key.name, unix.NFTA_SET_ELEM_LIST_TABLE)
	w.b[0] = key.family
	w.text(unix.NFTA_SET_ELEM_LIST_SET, key.set)
	var raw []rawElement
	err := s.ask(nft16(unix.NFT_MSG_GETSETELEM), unix.NLM_F_DUMP, w.b, func(_ uint16, b []byte) {
		parseElements(b, func(el Element, end bool) {
			if len(raw) <= mostElements {
				el.Key, el.Data = bytes.Clone(el.Key), bytes.Clone(el.Data) // they are of the buffer
				raw = append(raw, rawElement{el, end})
			}
		})
	})
	if errors.Is(err, unix.ENOENT) { // it has gone meanwhile
		return errInterrupted
	}
	if err != nil || len(raw) > mostElements {
		return err
	}
	if set.read = true; set.interval {
		set.list = joinRanges(raw)
		return nil
	}
	for _, el := range raw {
		set.list = append(set.list, el.Element)
	}
	return nil
}

// Program says that rules, tables or chains of nftables bear the names that a
// program gives: docker, firewalld, tailscale, mwan3, ufw, kubernetes, libvirt.
// They are told for the operator; nothing is decided by them.
func (r *Ruleset) Program(name string) bool {
	for key := range r.chains {
		if programOf(key) == name {
			return true
		}
	}
	return false
}
