package traffic

import (
	"net/netip"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

// What packets look for is what is read: for each kind of persistence, with and
// without a scope, of either family, the entry says whose it is and no more.
func TestSimilar(t *testing.T) {
	mask := config.Mask{V4: 24, V6: 56}
	destination := config.Mask{V4: 32, V6: 128}
	for _, scoped := range []bool{false, true} {
		for _, by := range []string{config.PersistBySource, config.PersistBySourcePort, config.PersistByDestination, config.PersistBySourceDestination} {
			for _, f := range Families() {
				conf := &config.Persistence{Name: "p", By: by, Mask: mask, DestinationMask: destination, MaxEntries: 1000}
				s := SimilarBy(conf)
				p := kernel.Packet{Source: address("192.0.2.77"), Dest: address("203.0.113.9"), Protocol: 6, SourcePort: 0x1234, DestPort: 80,
					Ct: kernel.CtInfo{State: kernel.CtNew, Mark: 5<<10 | kernel.Inbound | 2}}
				want := Client{Source: netip.MustParsePrefix("192.0.2.0/24"), Destination: netip.MustParsePrefix("203.0.113.9/32")}
				if f.IPv6() {
					p.Source, p.Dest = address("2001:db8:0:1ff::7"), address("2001:db8:9::9")
					want = Client{Source: netip.MustParsePrefix("2001:db8:0:100::/56"), Destination: netip.MustParsePrefix("2001:db8:9::9/128")}
				}
				if by == config.PersistByDestination {
					want.Source = netip.Prefix{}
				}
				if by == config.PersistBySource || by == config.PersistBySourcePort {
					want.Destination = netip.Prefix{}
				}
				if by == config.PersistBySourcePort {
					want.Port = 0x1234
				}
				if scoped {
					s.Scope, want.Scope = server(), 5<<10
				}
				key := keyOf(f, want, scoped)
				if !finds(t, s, f, conf, p, key) {
					t.Errorf("%s, scope %v: a packet does not find the entry %x", by, scoped, key)
				}
				other := want
				other.Scope, other.Port = want.Scope^1<<10, want.Port^1
				if (scoped || want.Port > 0) && finds(t, s, f, conf, p, keyOf(f, other, scoped)) {
					t.Errorf("%s, scope %v: a packet finds the entry of another", by, scoped)
				}
				if got, ok := s.Read(f, key); !ok || got != want {
					t.Errorf("%s, scope %v: %x is %+v, want %+v", by, scoped, key, got, want)
				}
				for _, bad := range [][]byte{nil, key[1:], key[:len(key)-4], append(key[:len(key):len(key)], 0, 0, 0, 0)} {
					if got, ok := s.Read(f, bad); ok || got != (Client{}) {
						t.Errorf("%s: %x is read as %+v", by, bad, got)
					}
				}
			}
		}
	}
}

// keyOf gives the key of an entry as it stands in the kernel.
func keyOf(f Family, c Client, scoped bool) []byte {
	var parts [][]byte
	if scoped {
		parts = append(parts, kernel.Number(c.Scope))
	}
	if c.Source.IsValid() {
		parts = append(parts, c.Source.Addr().AsSlice())
	}
	if c.Port != 0 {
		parts = append(parts, kernel.Port(c.Port))
	}
	if c.Destination.IsValid() {
		parts = append(parts, c.Destination.Addr().AsSlice())
	}
	return kernel.Key(parts...)
}

// finds says whether a packet finds an entry of a key.
func finds(t *testing.T, s Similar, f Family, conf *config.Persistence, p kernel.Packet, key []byte) bool {
	t.Helper()
	b := NewBuilder("t", NewFixed())
	b.Base("in", kernel.Hook{Type: "filter", Point: "prerouting"}, func() []kernel.Rule {
		set := b.Entries("stick", conf, s, f, kernel.TypeNumber)
		return []kernel.Rule{Rule("", kernel.In{Key: s.Key(f), Set: set}, b.Count("found"))}
	})
	table, roles := b.Done()
	if roles.Set("stick") != (flow.Role{Kind: flow.Persistence, Name: "p"}) || table.Sets[0].Size != 1000 {
		t.Errorf("the map is %+v", table.Sets[0])
	}
	world := kernel.NewWorld(&kernel.Wishes{Tables: []kernel.Table{table}})
	world.Read = func(_, _ string) ([]kernel.Element, error) {
		return []kernel.Element{{Key: key, Data: kernel.Number(1)}}, nil
	}
	trace, err := world.Walk("prerouting", p)
	if err != nil {
		t.Fatal(err)
	}
	return counted(trace)["found"] == 1
}

// Requests alone can be similar by a cookie and its like: no connection is.
func TestByAddress(t *testing.T) {
	for by, want := range map[string]bool{config.PersistBySource: true, config.PersistBySourcePort: true, config.PersistByDestination: true,
		config.PersistBySourceDestination: true, config.PersistByCookie: false, config.PersistByHeader: false, config.PersistByURL: false, config.PersistBySSLSession: false} {
		if ByAddress(by) != want {
			t.Errorf("by %s: %v", by, !want)
		}
	}
}
