package config

import "time"

// ServerFarm is a group of real servers, and how the connections of virtual
// servers are shared among them: the set that takes part by priority, min and
// max (FAQ 1.1.14), then persistence and the algorithm. It owns the row
// serverFarm/NAME. A farm without servers takes nothing: what it is given is
// dropped.
type ServerFarm struct {
	Name      string        `yaml:"name" json:"name"`
	Algorithm FarmAlgorithm `yaml:"algorithm" json:"algorithm" words:"farmAlgorithm"`       // how connections are shared (default round-robin)
	Direction string        `yaml:"direction" json:"direction,omitempty" words:"direction"` // bandwidth, max-bandwidth: of which traffic, in to the server, out from it (default total)
	Debit     Bandwidth     `yaml:"debit" json:"debit,omitzero"`                            // max-bandwidth: the load that is expected to come within a second; it is spread so that what then remains is level, instead of all going to one server (default 0)
	Mask      Mask          `yaml:"mask" json:"mask,omitzero"`                              // the hashes: leading bits of the addresses that count (default 32 and 128)
	Slots     int           `yaml:"slots" json:"slots"`                                     // places that the servers share, 16, 64, 256 or 1024: with more, shares are finer (default 256, and 1024 from 33 servers on; with more than 1000 farms the least that gives each server six)
	Min       int           `yaml:"min" json:"min,omitempty"`                               // at least so many take part; 0: the highest level, whatever its size
	Max       int           `yaml:"max" json:"max,omitempty"`                               // at most so many; 0: no bound
	Spill     []Spill       `yaml:"spill" json:"spill" words:"spill"`                       // what makes room for lower priorities (default [down])
	Activate  Activate      `yaml:"activate" json:"activate,omitzero"`

	BusyProtection bool          `yaml:"busyProtection" json:"busyProtection,omitempty"` // busy servers get no new connections, unless all are busy
	OnFailure      ServerFailure `yaml:"onFailure" json:"onFailure" words:"onFailure"`   // of the connections of a server that fails, if another is alive (default keep)
	OnBusy         FarmBusy      `yaml:"onBusy" json:"onBusy" words:"onBusy"`            // of a new connection while every server is at a limit (default drop)
	SlowOnline     SlowOnline    `yaml:"slowOnline" json:"slowOnline,omitzero"`          // a server that comes back gets new connections slowly (default at once)
	SlowOffline    bool          `yaml:"slowOffline" json:"slowOffline"`                 // a server that is switched off (enabled: false) keeps the connections that it has until they end; false: they are treated as onFailure says (default true)
	AutoShutdown   *AutoShutdown `yaml:"autoShutdown" json:"autoShutdown,omitempty"`     // without it, probes alone judge the servers

	Mode     FarmMode `yaml:"mode" json:"mode" words:"farmMode"`       // how servers are reached (default nat)
	SNAT     SNATMode `yaml:"snat" json:"snat,omitempty" words:"snat"` // source address that servers see: none is the client's own, masquerade that of the interface towards the server (default none)
	SNATPool string   `yaml:"snatPool" json:"snatPool,omitempty"`      // or one of this pool's
	Port     uint16   `yaml:"port" json:"port,omitempty"`              // default port of the servers, 1 to 65535
	Probes   []string `yaml:"probes" json:"probes,omitempty"`          // of servers that have none of their own
	Criteria Criteria `yaml:"criteria" json:"criteria,omitzero"`       // over them

	Servers []*RealServer `yaml:"servers" json:"servers,omitempty"` // in YAML also bare: 10.0.0.1, or 10.0.0.1:8080
	Pos     Pos           `yaml:"-" json:"-"`
}

// AutoShutdown takes a server out of its farm by what its connections show,
// without a probe. At least one of resets and unanswered is given.
type AutoShutdown struct {
	Resets     int      `yaml:"resets" json:"resets,omitempty"`         // so many connections that the server resets, 1 to 1000000; 0: they do not count
	Unanswered int      `yaml:"unanswered" json:"unanswered,omitempty"` // so many TCP connections that it refuses, or leaves for 3 s without any answer, 1 to 1000000; 0: they do not count
	Within     Duration `yaml:"within" json:"within"`                   // in so long, 1s to 10m (default 10s)
	Recovery   Duration `yaml:"recovery" json:"recovery"`               // after so long it is tried again, 1s to 24h; 0s: not before an operator says so (default 1m)
	Pos        Pos      `yaml:"-" json:"-"`
}

// FarmAlgorithm shares connections among servers. Weights count where it says
// so, and nowhere else (FAQ 1.1.15).
type FarmAlgorithm string

// The algorithms of server farms. Those of connections count either those of
// the server, by its address and port in whatever farm, or those of the member
// of this farm alone.
const (
	FarmRoundRobin                     FarmAlgorithm = "round-robin"                       // in turn, by weight
	FarmRandom                         FarmAlgorithm = "random"                            // by lot; weights do not count
	FarmSourceHash                     FarmAlgorithm = "source-hash"                       // a client keeps its server; losing a server moves only its own clients; weights do not count
	FarmSourcePortHash                 FarmAlgorithm = "source-port-hash"                  // by address and port of the client, so that the connections of one client are spread; weights do not count
	FarmDestinationHash                FarmAlgorithm = "destination-hash"                  // by the address that the client asked for, where a virtual server has a network of them; weights do not count
	FarmLeastConnections               FarmAlgorithm = "least-connections"                 // the server with the fewest connections, in all farms together; weights do not count
	FarmWeightedLeastConnections       FarmAlgorithm = "weighted-least-connections"        // the fewest in all farms for its weight
	FarmMemberLeastConnections         FarmAlgorithm = "member-least-connections"          // the server with the fewest connections of this farm; weights do not count
	FarmMemberWeightedLeastConnections FarmAlgorithm = "member-weighted-least-connections" // the fewest of this farm for its weight
	FarmLeastTime                      FarmAlgorithm = "least-time"                        // the server whose probes are answered soonest; weights do not count
	FarmBandwidth                      FarmAlgorithm = "bandwidth"                         // in turn, by weight times what remains of the server below its rateLimit
	FarmMaxBandwidth                   FarmAlgorithm = "max-bandwidth"                     // the server of which most remains below its rateLimit, the first in the file of several; weights do not count
)

// Hashes says whether the algorithm goes by a hash of addresses.
func (a FarmAlgorithm) Hashes() bool {
	return a == FarmSourceHash || a == FarmSourcePortHash || a == FarmDestinationHash
}

// Counts says whether the algorithm needs the live numbers of connections.
func (a FarmAlgorithm) Counts() bool {
	switch a {
	case FarmLeastConnections, FarmWeightedLeastConnections, FarmMemberLeastConnections, FarmMemberWeightedLeastConnections:
		return true
	}
	return false
}

// ByMember says whether only the connections of this farm count.
func (a FarmAlgorithm) ByMember() bool {
	return a == FarmMemberLeastConnections || a == FarmMemberWeightedLeastConnections
}

// Looks says whether the algorithm goes by what remains of a server's
// rateLimit.
func (a FarmAlgorithm) Looks() bool { return a == FarmBandwidth || a == FarmMaxBandwidth }

// Weighs says whether weights count (FAQ 1.1.15).
func (a FarmAlgorithm) Weighs() bool {
	switch a {
	case FarmRoundRobin, FarmBandwidth, FarmWeightedLeastConnections, FarmMemberWeightedLeastConnections:
		return true
	}
	return false
}

// ServerFailure says what becomes of the connections of a server that fails.
type ServerFailure string

// What becomes of the connections of a server that fails (T38). None of them
// is touched while no other server of the farm is alive.
const (
	ServerKeep       ServerFailure = "keep"       // they stay: their own timers end them, or the server comes back
	ServerReschedule ServerFailure = "reschedule" // the next packet goes to another server; TCP does not survive that, for the other one knows nothing of it and resets it
	ServerReset      ServerFailure = "reset"      // TCP is reset; others are told by ICMP that nobody is there, if slb.unreachables says so (FAQ 1.1.16)
)

// FarmBusy says what becomes of a new connection while every server is at a
// limit.
type FarmBusy string

// What becomes of a new connection while every server is at a limit.
const (
	FarmDrop  FarmBusy = "drop"  // it is dropped
	FarmQueue FarmBusy = "queue" // it waits: its first packet is dropped and counted as waiting, and the client sends it again after a second, then two; TCP alone has a queue of this kind
	FarmForce FarmBusy = "force" // it goes to one of them, over the limit
)

// FarmMode says how servers are reached.
type FarmMode string

// How servers are reached.
const (
	FarmNAT    FarmMode = "nat"    // the destination becomes the server's address; answers must come back through this node, which snat sees to where routes do not
	FarmRouted FarmMode = "routed" // packets stay as they are and are sent to the server as a router; answers may come back through this node
	FarmDirect FarmMode = "direct" // packets stay as they are and are sent to the server, a neighbour that has the address too and answers the client directly (DSR)
)

// Snat gives how the farm changes source addresses: none, masquerade, or, if
// pool is not empty, one of that pool's.
func (f *ServerFarm) Snat() (mode SNATMode, pool string) {
	if f.SNATPool != "" {
		return "", f.SNATPool
	}
	return or(f.SNAT, SNATNone), ""
}

// ProbesOf gives the probes of a server of the farm, and how many must
// succeed: its own, else those of the farm.
func (f *ServerFarm) ProbesOf(s *RealServer) ([]string, Criteria) {
	switch {
	case len(s.Probes) > 0:
		return s.Probes, s.Criteria
	case s.Criteria != (Criteria{}):
		return f.Probes, s.Criteria
	default:
		return f.Probes, f.Criteria
	}
}

func (f *ServerFarm) defaults() {
	*f = ServerFarm{Algorithm: FarmRoundRobin, Spill: []Spill{SpillDown}, OnFailure: ServerKeep, OnBusy: FarmDrop,
		SlowOffline: true, Mode: FarmNAT}
}

func (a *AutoShutdown) defaults() {
	*a = AutoShutdown{Within: Duration(10 * time.Second), Recovery: Duration(time.Minute)}
}

// farmSlots are the sizes that the kernel's table of places may have.
var farmSlots = [...]int{16, 64, 256, 1024}

// farmsMany is from how many farms on their tables are kept small.
const farmsMany = 1000

// slotsFor gives the size for a farm of so many servers, one of so many farms. A
// share is as exact as one place of the table: to a thirtieth of a server's own if
// there are eight servers, and 256 places. Many farms get the least size that has
// six places for each server, as their places are elements that the kernel holds.
func slotsFor(servers, farms int) int {
	least, each := 256, 8
	if farms > farmsMany {
		least, each = farmSlots[0], 6
	}
	for _, n := range farmSlots {
		if n >= least && n >= each*servers {
			return n
		}
	}
	return farmSlots[len(farmSlots)-1]
}

// settle fills in what follows from the farm: ports of servers, names of those
// that have none, and the number of slots.
func (f *ServerFarm) settle(c *checker) {
	if !c.given(&f.Slots) {
		f.Slots = slotsFor(len(f.Servers), len(c.m.ServerFarms))
	}
	for _, s := range f.Servers {
		s.settle(c, f)
	}
}
