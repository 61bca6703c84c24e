package l4

import (
	"fmt"
	"maps"
	"slices"

	"github.com/portolan-lb/portolan/config"
)

// MaxServers is the highest number of a virtual server, and how many can be
// served: it stands in 16 bits of the conntrack mark.
const MaxServers = 1<<16 - 1

// maxNumber is the highest number of a farm or a real server.
const maxNumber = 1<<24 - 1

// Numbers are what the kernel knows the names of the configuration by. They
// outlive the daemon, as conntrack marks and entries of persistence do that hold
// them: whoever starts keeps them and gives them to [Number] again.
type Numbers struct {
	VirtualServers map[string]uint32 `json:"virtualServers"` // by name, 1 to [MaxServers]
	Farms          map[string]uint32 `json:"farms"`          // by name
	Servers        map[string]uint32 `json:"servers"`        // by farm and name, see [ServerKey]
}

// Clone gives numbers that go their own way.
func (n Numbers) Clone() Numbers {
	return Numbers{maps.Clone(n.VirtualServers), maps.Clone(n.Farms), maps.Clone(n.Servers)}
}

// Kind is what a number is of.
type Kind string

// What numbers are of.
const (
	OfVirtualServer Kind = "virtual server"
	OfFarm          Kind = "server farm"
	OfServer        Kind = "server"
)

// ServerKey is what the real server of a farm is called among all: FARM/NAME,
// as its row is.
func ServerKey(farm, name string) string { return farm + "/" + name }

// Number gives everything that slb serves its number. It is stable: what has one
// in kept keeps it, whatever happens to others; what is new gets the lowest that
// is free and was so before, in the order of the file: a number that is freed now
// still stands in the kernel, and whoever had it at once would have the counts of
// the one that goes. A name that is gone keeps its number in the result, and nobody
// gets it, while carried says that connections or entries of persistence hold it;
// so what comes back has its own again. A nil carried holds nothing.
func Number(m *config.Model, kept Numbers, carried func(Kind, uint32) bool) (Numbers, error) {
	servers, farms, members := namesOf(m)
	held := func(kind Kind) func(uint32) bool {
		return func(n uint32) bool { return carried != nil && carried(kind, n) }
	}
	var out Numbers
	var err error
	if out.VirtualServers, err = numbered(OfVirtualServer, servers, kept.VirtualServers, MaxServers, held(OfVirtualServer)); err != nil {
		return Numbers{}, err
	}
	if out.Farms, err = numbered(OfFarm, farms, kept.Farms, maxNumber, held(OfFarm)); err != nil {
		return Numbers{}, err
	}
	if out.Servers, err = numbered(OfServer, members, kept.Servers, maxNumber, held(OfServer)); err != nil {
		return Numbers{}, err
	}
	return out, nil
}

func numbered(kind Kind, names []string, kept map[string]uint32, most uint32, carried func(uint32) bool) (map[string]uint32, error) {
	out, used := make(map[string]uint32, len(names)), make(map[uint32]bool, len(names))
	take := func(name string, n uint32) {
		if _, has := out[name]; !has && n != 0 && n <= most && !used[n] {
			out[name], used[n] = n, true
		}
	}
	for _, name := range names {
		take(name, kept[name])
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		if _, there := out[name]; !there && carried(kept[name]) {
			take(name, kept[name])
		}
	}
	freed := make(map[uint32]bool, len(kept))
	for _, n := range kept {
		freed[n] = true
	}
	next := uint32(1)
	for _, name := range names {
		if _, has := out[name]; has {
			continue
		}
		for next <= most && (used[next] || freed[next] || carried(next)) {
			if next++; next > most && len(freed) > 0 { // better with its counts than not served
				next, freed = 1, nil
			}
		}
		if next > most {
			return nil, fmt.Errorf("%s %s gets no number: at most %d can be served, those included whose connections still live", kind, name, most)
		}
		take(name, next)
	}
	return out, nil
}

// namesOf gives what is to have a number, in the order of the file.
func namesOf(m *config.Model) (servers, farms, members []string) {
	for _, v := range m.VirtualServers {
		if v.Served() {
			servers = append(servers, v.Name)
		}
	}
	for _, f := range m.ServerFarms {
		farms = append(farms, f.Name)
		for _, s := range f.Servers {
			members = append(members, ServerKey(f.Name, s.Name))
		}
	}
	return servers, farms, members
}
