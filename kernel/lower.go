package kernel

import "fmt"

// withPorts is the set of protocols that have ports. A table gets it when a rule
// looks at ports without a look at the protocol before: the first octets of an
// ICMP message are no ports.
const withPorts = "with_ports"

var protocolsWithPorts = []uint8{6, 17, 33, 132, 136} // TCP, UDP, DCCP, SCTP, UDP-Lite

// lower writes out what a rule takes for granted: before each step the matches
// that its fields need, as nft does for the rules that it is given. In a table
// of both families an IPv6 packet has something where the addresses of an
// IPv4 packet are, too.
func lower(steps []Step) ([]Step, error) { return lowerIn(Inet, false, steps) }

// lowerIn is lower in a table of a family: its packets are known to be of it. For
// ported see [Rule].
func lowerIn(family TableFamily, ported bool, steps []Step) (all []Step, err error) {
	k := learned{family: [...]uint8{Inet: 0, IPv4: family4, IPv6: family6}[family], ports: ported}
	for _, s := range steps {
		for _, n := range needsOf(s) {
			if all, err = k.require(all, n); err != nil {
				return nil, err
			}
		}
		k.learn(s)
		all = append(all, s)
	}
	return all, nil
}

// requirement is what a step must know of a packet.
type requirement struct {
	family uint8
	layer4 need
}

// learned is what the steps so far say of a packet that came through them.
type learned struct {
	family   uint8
	protocol uint8 // 0: any
	ports    bool
	ether    bool
}

func (k *learned) require(all []Step, n requirement) ([]Step, error) {
	switch {
	case n.family == 0 || n.family == k.family:
	case k.family != 0:
		return nil, fmt.Errorf("it wants IPv4 and IPv6 of one packet")
	default:
		k.family = n.family
		all = append(all, Is{Of: Family, To: []byte{n.family}})
	}
	only := map[need]uint8{tcp: 6, udp: 17}[n.layer4] // the one protocol that has it
	switch {
	case only != 0 && k.protocol == 0:
		k.protocol = only
		all = append(all, Is{Of: Protocol, To: []byte{only}})
	case only != 0 && k.protocol != only, n.layer4 == ports && k.protocol != 0 && !HasPorts(k.protocol):
		return nil, fmt.Errorf("protocol %d has none of what it looks at", k.protocol)
	case n.layer4 == ports && k.protocol == 0 && !k.ports:
		k.ports = true
		all = append(all, In{Key: Protocol, Set: withPorts})
	case n.layer4 == ether && !k.ether:
		k.ether = true
		all = append(all, Is{Of: linkType, To: native.AppendUint16(nil, arphrdEther)})
	}
	return all, nil
}

func (k *learned) learn(s Step) {
	switch s := s.(type) {
	case Is:
		switch {
		case s.Op != Equal || len(s.To) != 1:
		case s.Of == Family:
			k.family = s.To[0]
		case s.Of == Protocol:
			k.protocol = s.To[0]
		}
	case In:
		k.ports = k.ports || s.Key == Value(Protocol) && s.Set == withPorts && !s.Not
	}
}

// needsOf tells what a step needs.
func needsOf(s Step) []requirement {
	switch s := s.(type) {
	case Is:
		return needs(s.Of)
	case Within:
		return needs(s.Of)
	case In:
		return needs(s.Key)
	case Choose:
		return needs(s.Key)
	case CopyMark:
		return needs(s.From)
	case CopyCtMark:
		return needs(s.From)
	case SetPriority:
		return needs(s.From)
	case Change:
		return append(needs(s.Key), needs(s.Data)...)
	case Reject:
		if s.With == TCPReset {
			return []requirement{{layer4: tcp}}
		}
	case TProxy:
		return []requirement{{family: familyOf(s.IPv6), layer4: ports}}
	case SNAT:
		return []requirement{{family: familyOf(!s.From.Unmap().Is4())}}
	case DNAT:
		return natNeeds(s.IPv6, s.Port, s.To)
	case SNATTo:
		return natNeeds(s.IPv6, s.Ports, s.To)
	case Dup:
		return append(needs(s.To), requirement{family: familyOf(s.IPv6)})
	case SetTOS:
		return []requirement{{family: familyOf(s.IPv6)}}
	}
	return nil
}

// natNeeds tells what translation by a value needs: what is given a port has one.
func natNeeds(v6, port bool, to Value) []requirement {
	r := requirement{family: familyOf(v6)}
	if port {
		r.layer4 = ports
	}
	return append([]requirement{r}, needs(to)...)
}

func familyOf(v6 bool) uint8 {
	if v6 {
		return family6
	}
	return family4
}

// needs tells what a value needs.
func needs(v Value) (all []requirement) {
	switch v := v.(type) {
	case Field:
		if f := fields[v]; f.family != 0 || f.layer4 != nothing {
			return []requirement{{f.family, f.layer4}}
		}
	case Masked:
		return needs(v.Of)
	case Shifted:
		return needs(v.Of)
	case Hash:
		return needs(v.Of)
	case Lookup:
		return needs(v.Key)
	case Join:
		for _, part := range v {
			all = append(all, needs(part)...)
		}
	}
	return all
}
