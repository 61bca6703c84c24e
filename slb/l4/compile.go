package l4

import (
	"net/netip"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/topology"
)

// Owner is who wishes what a [Plan] says, and Table the table of nftables that
// is wholly its own.
const (
	Owner = "slb"
	Table = "portolan_slb"
)

// Inputs is what a [Plan] is made of.
type Inputs struct {
	Model    *config.Model   // checked, and one that serves
	Topology *topology.Table // of the model: knows the addresses of ISPs, autonomous systems and countries; nil: it knows none
	Numbers  Numbers         // as [Number] gives them
	Before   *Plan           // whose elements are taken over where they are the same (T60); nil: there is none
}

// Facts is what changes while the configuration stays, and changes rules or
// what else Linux is told: a [Plan] and facts together say what Linux is to be
// like. What ticks find is written by the methods of [Plan].
type Facts struct {
	Interfaces []kernel.Interface // that there are: their networks tell who is a neighbour of a server (hairpin)
}

// ID is the number of a real server of a farm.
type ID = slots.ID

// States says how the servers of a farm stand: each list holds those of the
// one after it.
type States struct {
	Alive     []ID // that live: persistence with overrideLimit is honoured
	Loose     []ID // of them those that take new connections, or would if they were not busy
	Available []ID // of them those that take new connections; each is tried after the one before it if that is at a limit which the kernel counts
}

// Plan is what the kernel is to do for a configuration. Compile and Wishes are
// for one goroutine at a time; its other methods may be called from any.
type Plan struct{}

// Compile makes the plan of a checked model. It has no effect on the plan before.
func Compile(in Inputs) (*Plan, config.Errors) { return &Plan{}, nil }

// Wishes says what Linux is to be like. Elements are in it as they stand, and
// stay the plan's.
func (p *Plan) Wishes(f Facts) *kernel.Wishes { return &kernel.Wishes{} }

// SetSlots says which server has which slot of a farm; 0: nobody.
func (p *Plan) SetSlots(farm string, slots []ID) (changed []*kernel.Elements) { return nil }

// SetForced says who would have which slot if nobody were at a limit, for farms
// whose busy action is force.
func (p *Plan) SetForced(farm string, slots []ID) (changed []*kernel.Elements) { return nil }

// SetServers says how the servers of a farm stand.
func (p *Plan) SetServers(farm string, s States) (changed []*kernel.Elements) { return nil }

// SetDead says whose sessions are reset (onFailure: reset; T38): ids are of the
// farm.
func (p *Plan) SetDead(farm string, ids []ID) (changed []*kernel.Elements) { return nil }

// SetUnavailable says that a farm is below its thresholds (T30), so that its
// backup stands in for it while that is not.
func (p *Plan) SetUnavailable(farm string, unavailable bool) (changed []*kernel.Elements) { return nil }

// SetShut says that a virtual server is at a limit which the kernel does not
// count itself ([Plan.Counted]).
func (p *Plan) SetShut(virtualServer string, shut bool) (changed []*kernel.Elements) { return nil }

// SetAddress says which addresses a server by DNS name has now; the zero Addr:
// none of the family.
func (p *Plan) SetAddress(farm, server string, v4, v6 netip.Addr) (changed []*kernel.Elements) {
	return nil
}

// Stick is a map of a persistence: which client has which server, written by
// packets.
type Stick struct {
	Persistence string
	Set         string // of [Table]
	IPv6        bool
}

// Sticks gives all maps of persistence that rules use.
func (p *Plan) Sticks() []Stick { return nil }

// Names tells explain what chains and sets of [Table] are for.
func (p *Plan) Names() flow.Names { return flow.Names{} }

// VirtualServerOf gives the name of the virtual server in a conntrack mark, or "".
func (p *Plan) VirtualServerOf(mark uint32) string { return "" }

// FarmOf gives the name of a farm by its number, or "".
func (p *Plan) FarmOf(number uint32) string { return "" }

// ServerOf gives the farm and the name of a real server by its number, or "".
func (p *Plan) ServerOf(id ID) (farm, name string) { return "", "" }
