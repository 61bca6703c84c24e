package traffic

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

// Similar is what makes connections similar for a persistence: what its map has
// as key. The parts stand in the order scope, source, port, destination.
type Similar struct {
	By                  string // one of those that [ByAddress] says yes to
	Source, Destination config.Mask
	// Scope is what else tells entries apart, four octets such as the number of a
	// virtual server; nil: nothing.
	Scope kernel.Value
}

// SimilarBy gives what makes connections similar for a persistence.
func SimilarBy(s *config.Persistence) Similar {
	return Similar{By: s.By, Source: s.Mask, Destination: s.DestinationMask}
}

// ByAddress says whether connections can be similar by it, and not requests
// alone: whether addresses and ports are all it looks at.
func ByAddress(by string) bool {
	s := Similar{By: by}
	return s.source() || s.destination()
}

func (s Similar) source() bool {
	return s.By == config.PersistBySource || s.By == config.PersistBySourceDestination || s.port()
}

func (s Similar) port() bool { return s.By == config.PersistBySourcePort }

func (s Similar) destination() bool {
	return s.By == config.PersistByDestination || s.By == config.PersistBySourceDestination
}

// Key is the key of a packet. By source-port what has no ports has none: rules
// that ask for it end.
func (s Similar) Key(f Family) kernel.Value {
	var key kernel.Join
	if s.Scope != nil {
		key = append(key, s.Scope)
	}
	if s.source() {
		key = append(key, f.Masked(f.Source, f.MaskOf(s.Source)))
	}
	if s.port() {
		key = append(key, kernel.SourcePort)
	}
	if s.destination() {
		key = append(key, f.Masked(f.Dest, f.MaskOf(s.Destination)))
	}
	if len(key) == 1 {
		return key[0]
	}
	return key
}

// Types are those of the key's parts.
func (s Similar) Types(f Family) (types []kernel.Type) {
	if s.Scope != nil {
		types = append(types, kernel.TypeNumber)
	}
	if s.source() {
		types = append(types, f.Addr)
	}
	if s.port() {
		types = append(types, kernel.TypePort)
	}
	if s.destination() {
		types = append(types, f.Addr)
	}
	return types
}

// Client is the key of an entry, as a map of [Similar] has it. What does not
// count is zero.
type Client struct {
	Scope       uint32 // as the kernel has it, in the order of this machine
	Source      netip.Prefix
	Port        uint16
	Destination netip.Prefix
}

// Read tells what a key says. It is not ok if that is none of such a map.
func (s Similar) Read(f Family, key []byte) (c Client, ok bool) {
	next := func(size int) (part []byte) {
		if ok = ok && len(key) >= size; ok {
			part, key = key[:size], key[size:]
		}
		return part
	}
	network := func(m config.Mask) netip.Prefix {
		a, _ := netip.AddrFromSlice(next(f.Bits / 8))
		return netip.PrefixFrom(a, f.MaskOf(m))
	}
	ok = true
	if s.Scope != nil {
		if part := next(4); ok {
			c.Scope = binary.NativeEndian.Uint32(part)
		}
	}
	if s.source() {
		c.Source = network(s.Source)
	}
	if s.port() {
		// A port is two octets, and two that make it four.
		if part := next(4); ok {
			c.Port = binary.BigEndian.Uint16(part)
		}
	}
	if s.destination() {
		c.Destination = network(s.Destination)
	}
	if ok = ok && len(key) == 0; !ok {
		return Client{}, false
	}
	return c, true
}

// Entries writes the map of a persistence for one family, to what data is of,
// and gives its name. How long an entry lives stands in the rules that write it,
// so that another timeout leaves the entries there are.
func (b *Builder) Entries(name string, s *config.Persistence, by Similar, f Family, data ...kernel.Type) string {
	return b.SetFor(flow.Persistence, s.Name, kernel.Set{Name: name, Key: by.Types(f), Data: data, Dynamic: true, Timeout: time.Hour, Size: s.MaxEntries})
}
