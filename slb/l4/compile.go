package l4

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/topology"
	"github.com/portolan-lb/portolan/traffic"
)

// Owner is who wishes what a [Plan] says, and Table the table of nftables that
// is wholly its own.
const (
	Owner = "slb"
	Table = "portolan_slb"
	// CopyTable is, of family ip and of ip6, who sends packets on as they are.
	CopyTable = Table + "_direct"
	// ServedSet is the map of [Table] with all virtual servers that it serves.
	ServedSet = "served"
)

// Inputs is what a [Plan] is made of.
type Inputs struct {
	Model    *config.Model   // checked, and one that serves ([config.Model.Serves])
	Topology *topology.Table // of the model: knows the addresses of ISPs, autonomous systems and countries; nil: it knows none
	Numbers  Numbers         // as [Number] gives them
	Before   *Plan           // whose elements are taken over where they are the same (T60); nil: there is none
}

// Facts is what changes while the configuration stays, and changes rules or
// what else Linux is told: a [Plan] and facts together say what Linux is to be
// like. What ticks find is written by the methods of [Plan].
type Facts struct {
	Interfaces []kernel.Interface // that there are: their networks tell who is a neighbour of a server (hairpin)
	Now        time.Time          // for the times of classes, see [Plan.Next]
	Shut       bool               // a virtual server is shut ([Plan.SetShut]) though it has no limit: an operator says so
}

// ID is the number of a real server of a farm.
type ID = slots.ID

// Plan is what the kernel is to do for a configuration. Compile and Wishes are
// for one goroutine at a time; its other methods may be called from any.
type Plan struct {
	model *config.Model
	conf  *config.SLB
	topo  *topology.Table
	num   Numbers

	servers  []*server // in the order of the file
	byServer map[string]*server
	byMark   map[uint32]*server
	farms    []*farm // that something leads to, in the order of the file
	byFarm   map[string]*farm
	byNumber map[uint32]*farm
	members  map[ID]*member
	targets  []*target // in the order in which they were found
	byTarget map[target]*target
	users    map[*target][]*server // whose default it is
	keeps    []*keep               // persistences that targets use, in the order of the file
	byKeep   map[string]*keep
	policies []*config.FarmPolicy // that are in effect for a virtual server
	limits   []*config.LimitPolicy
	numbers  map[string]uint32 // of both, as maps hold them
	classes  map[string]*config.Class
	pools    map[string]*pool
	modes    []*mode // how farms draw
	has      features

	data   *data
	fixed  *traffic.Fixed
	copied [2]*traffic.Fixed // of [CopyTable] by family
	sets   map[string]bool   // that rules look at; no others are in the kernel

	mu     sync.Mutex // of what follows, and of the elements that ticks write
	live   *live
	stated atomic.Pointer[stated]
}

// features are what some object of the configuration has; rules of what none
// has are not written. That is all that the rules of two configurations differ
// by, but for their policies, persistences and other things of which there are few.
type features struct {
	full, fast, rates    bool    // limits of servers
	shut, vsFull, vsFast bool    // limits of virtual servers
	vsRates              bool    //
	policies             bool    // limit policies
	mixed                [2]bool // farms of servers of which some have no address of the family
	copied               [2]bool // farms that are sent packets as they are, by family of the virtual servers
	portless             bool    // and such virtual servers of every protocol
	everyProtocol        bool    // virtual servers of every protocol
	resets               bool    // onFailure: reset
	refusals             bool    // servers that shut themselves down by resets
	octets               bool    // rates of servers are looked at
	tosClient            bool
	tosServer            bool
	overrides            bool
	shared               bool
	nested               int // how deep the networks of virtual servers lie in each other
}

// server is a virtual server.
type server struct {
	*config.VirtualServer
	number uint32
	mark   uint32 // the number as it stands in the conntrack mark
	target *target
	policy *config.FarmPolicy
	limit  *config.LimitPolicy
}

// farm is a server farm that something leads to.
type farm struct {
	*config.ServerFarm
	number  uint32
	key     uint32 // the number as it stands in the packet's priority
	mode    *mode
	kept    bool // persistence leads to it
	shared  bool // one that virtual servers share
	members []*member
	targets []*target // that it stands in
	marks   []uint32  // of the virtual servers whose connections may be with it
}

// member is a real server of a farm.
type member struct {
	*config.RealServer
	farm *farm
	id   ID
}

// target is where a virtual server or an action sends a connection.
type target struct {
	number uint32 // as it stands in the packet's priority; 0 in keys of [Plan.byTarget]
	farm   *farm
	backup *farm // nil: none
	keep   *keep // nil: none
	goesOn bool  // to the next rule if nobody takes it: some action wants to know
}

// keep is a persistence.
type keep struct {
	*config.Persistence
	number uint32
}

// The kinds of numbers that stand in the packet's priority, one after the other;
// a real server's has none of the bits.
const (
	isFarm   uint32 = 1 << 31
	isTarget uint32 = 1 << 30
	isMoved  uint32 = 1 << 29 // a server's: that of the one before is at a limit
	kinds           = isFarm | isTarget

	// isAsked is of a virtual server whose policy decides, or which has no farm.
	isAsked = kinds
)

// A farm's number also says how a slot of it is drawn, so that the common ways need
// no look-up: by lot, where it is the logarithm of the number of slots, or in turn;
// 0: the map "mode" says it.
const (
	drawShift        = 24
	drawBits  uint32 = 0x1f << drawShift
	drawTurn  uint32 = 0x1f << drawShift
)

// scope is the farm in keys that stay when it draws otherwise.
func (f *farm) scope() uint32 { return f.key &^ drawBits }

// farmNumber is a farm's number without what else stands with it.
func farmNumber(key uint32) uint32 { return key & maxNumber }

// Compile makes the plan of a checked model. It has no effect on the plan before.
func Compile(in Inputs) (*Plan, config.Errors) {
	p := &Plan{model: in.Model, conf: in.Model.SLB, topo: in.Topology, num: in.Numbers,
		byServer: map[string]*server{}, byMark: map[uint32]*server{}, byFarm: map[string]*farm{}, byNumber: map[uint32]*farm{},
		members: map[ID]*member{}, byTarget: map[target]*target{}, users: map[*target][]*server{}, byKeep: map[string]*keep{}, classes: map[string]*config.Class{}, pools: map[string]*pool{}, numbers: map[string]uint32{}}
	if errs := p.findServers(); errs.Failed() {
		return nil, errs
	}
	p.findTargets()
	p.findMembers()
	p.findModes()
	p.findFeatures()
	errs := append(p.findPools(), p.unreached()...)
	c, more := p.claims()
	if errs = append(errs, more...); errs.Failed() {
		return nil, errs
	}
	p.build(c, in.Before)
	p.fixed, p.copied = traffic.NewFixed(), [2]*traffic.Fixed{traffic.NewFixed(), traffic.NewFixed()}
	if in.Before != nil {
		p.fixed, p.copied = in.Before.fixed.Clone(), [2]*traffic.Fixed{in.Before.copied[0].Clone(), in.Before.copied[1].Clone()}
	}
	w := p.Wishes(Facts{})
	p.sets = map[string]bool{}
	for _, t := range w.Tables {
		for i := range t.Sets {
			p.sets[t.Sets[i].Name] = true
		}
	}
	if depth := p.fixed.Depth(w.Tables[0], 0); depth > traffic.MaxDepth {
		errs = append(errs, &config.Error{Pos: p.conf.Pos, Path: "slb.classes",
			Text: fmt.Sprintf("classes of match any stand so deep within others that the kernel would have to go through %d chains, more than %d: flatten them", depth, traffic.MaxDepth)})
		return nil, errs
	}
	return p, errs
}

// findServers numbers what is served.
func (p *Plan) findServers() (errs config.Errors) {
	policies, limits := map[string]*config.FarmPolicy{}, map[string]*config.LimitPolicy{}
	for _, q := range p.conf.Policies {
		policies[q.Name] = q
	}
	for _, l := range p.conf.LimitPolicies {
		limits[l.Name] = l
	}
	for _, k := range p.conf.Classes {
		p.classes[k.Name] = k
	}
	for i, v := range p.model.VirtualServers {
		if !v.Served() {
			continue
		}
		n := p.num.VirtualServers[v.Name]
		if n == 0 || n > MaxServers {
			errs = append(errs, &config.Error{Pos: v.Pos, Path: fmt.Sprintf("virtualServers[%d]", i), Text: fmt.Sprintf("it has no number: at most %d can be served", MaxServers)})
			continue
		}
		s := &server{VirtualServer: v, number: n, mark: n << markShift, limit: limits[v.Serve.LimitPolicy]}
		if q := policies[v.Serve.Policy]; q != nil && q.Kind == config.PolicyGeneric { // those of HTTP are not in effect (FAQ 1.1.10)
			s.policy = q
		}
		p.servers = append(p.servers, s)
		p.byServer[v.Name], p.byMark[s.mark] = s, s
	}
	p.findPolicies()
	return errs
}

// findPolicies finds the policies and limit policies that are in effect.
func (p *Plan) findPolicies() {
	policies, limits := map[*config.FarmPolicy]bool{}, map[*config.LimitPolicy]bool{}
	for _, s := range p.servers {
		policies[s.policy], limits[s.limit] = true, true
	}
	numbers := traffic.NewNamer(1<<32 - 1)
	for _, q := range p.conf.Policies {
		if policies[q] {
			p.policies = append(p.policies, q)
			p.numbers["policy "+q.Name] = numbers.Of(q.Name)
		}
	}
	numbers = traffic.NewNamer(1<<32 - 1)
	for _, l := range p.conf.LimitPolicies {
		if limits[l] {
			p.limits = append(p.limits, l)
			p.numbers["limit policy "+l.Name] = numbers.Of(l.Name)
		}
	}
}

// markShift is where the number of a virtual server stands in the conntrack mark.
const markShift = 10

// memberOf gives a member by its names; nil: there is none, or nothing leads to
// its farm.
func (p *Plan) memberOf(farm, name string) *member {
	f := p.byFarm[farm]
	if f == nil {
		return nil
	}
	for _, m := range f.members {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// address gives the addresses of a member by family: as configured, or as its
// name has them now.
func (p *Plan) address(m *member) (of [2]netip.Addr) {
	if m.Host != "" {
		return p.live.hosts[m.id]
	}
	for _, a := range m.Addresses {
		of[traffic.FamilyOf(a)] = a
	}
	return of
}
