package config

import "net/netip"

// Class says what traffic a rule of a policy is for. Inside a list one entry
// must match; of the lists that are given all must, or any, as match says. The
// lists of ISPs, ASNs and countries are about the far end: the destination in
// outbound, the client in slb.
type Class struct {
	Name         string         `yaml:"name" json:"name"`
	Match        string         `yaml:"match" json:"match" words:"classMatch"`      // how many of the lists must match (default all)
	Sources      []netip.Prefix `yaml:"sources" json:"sources,omitempty"`           // networks that it comes from
	Destinations []netip.Prefix `yaml:"destinations" json:"destinations,omitempty"` // networks that it goes to
	ISPs         []string       `yaml:"isps" json:"isps,omitempty"`                 // the far end is in one of their networks
	ASNs         []uint32       `yaml:"asns" json:"asns,omitempty"`                 // the far end is in one of these autonomous systems, 1 to 4294967295
	Countries    []string       `yaml:"countries" json:"countries,omitempty"`       // the far end is in one of these countries, ISO 3166-1 alpha-2
	Services     []Service      `yaml:"ports" json:"ports,omitempty"`               // applications by protocol and port of the destination, such as tcp/443, udp/53, 8080, icmp
	Interfaces   []string       `yaml:"interfaces" json:"interfaces,omitempty"`     // it comes in by one of these network interfaces; in outbound, of those that outbound.interfaces holds
	HTTP         *HTTPMatch     `yaml:"http" json:"http,omitempty"`                 // slb, policies of kind http: requests of this kind
	Times        []*Schedule    `yaml:"times" json:"times,omitempty"`               // it is one of these times
	Classes      []string       `yaml:"classes" json:"classes,omitempty"`           // one of these classes matches; loops are refused
	Pos          Pos            `yaml:"-" json:"-"`
}

// How many lists of a class must match.
const (
	MatchAll = "all"
	MatchAny = "any"
)

func (k *Class) defaults() { k.Match = MatchAll }

// checkClasses checks the classes of outbound.
func (c *checker) checkClasses(classes []*Class) {
	c.nestClasses(classes, c.gateway.classes, func(k *Class, c *checker) { k.checkAs(c, false) })
}

// nestClasses checks classes, and refuses those that contain themselves or nest
// too deep. It gives how they nest, nil if in circles.
func (c *checker) nestClasses(classes []*Class, named map[string]*Class, check func(*Class, *checker)) *graph {
	inside := newGraph(func(name string) []string {
		if k := named[name]; k != nil {
			return k.Classes
		}
		return nil
	})
	looped := false
	each(c, classes, func(k *Class, c *checker) {
		check(k, c)
		if way := inside.loop(k.Name); way != "" {
			c.bad(&k.Name, "the class contains itself: %s", way)
			looped = true
		}
	})
	if looped {
		return nil
	}
	depths := map[string]int{}
	each(c, classes, func(k *Class, c *checker) {
		if d := inside.depth(k.Name, depths); d == maxNesting {
			c.bad(&k.Name, "classes nest %d deep here, at most %d may", d+1, maxNesting)
		}
	})
	return inside
}

// checkAs checks a class of slb, or of outbound.
func (k *Class) checkAs(c *checker, slb bool) {
	k.checkLists(c)
	k.checkLookedUp(c)
	for i := range k.Classes {
		if slb {
			c.refer("class of slb", &k.Classes[i])
		} else {
			c.refer("class", &k.Classes[i])
		}
	}
	for i := range k.Interfaces {
		switch name := k.Interfaces[i]; {
		case slb && !isInterface(name):
			c.bad(&k.Interfaces[i], "%s is no name of a network interface: 1 to 15 characters, no space, slash or colon", quote(name))
		case !slb && !c.gateway.inside[name]:
			c.bad(&k.Interfaces[i], "%s is not one of outbound.interfaces: nothing that is balanced comes in by it", quote(name))
		}
	}
	switch {
	case k.HTTP == nil:
	case slb:
		k.HTTP.check(c)
	default:
		c.bad(k.HTTP, "has no place in outbound, which balances connections")
	}
	each(c, k.Times, (*Schedule).check)
	c.of(k)
	if k.Match == MatchAll && !sameFamily(k.Sources, k.Destinations) {
		c.bad(k, "matches nothing: sources and destinations have no family in common")
	}
}

// checkLists checks that a class says something, and nothing twice.
func (k *Class) checkLists(c *checker) {
	given := false
	for _, list := range []struct {
		field any
		size  int
	}{{&k.Sources, len(k.Sources)}, {&k.Destinations, len(k.Destinations)}, {&k.ISPs, len(k.ISPs)}, {&k.ASNs, len(k.ASNs)},
		{&k.Countries, len(k.Countries)}, {&k.Services, len(k.Services)}, {&k.Interfaces, len(k.Interfaces)},
		{&k.Times, len(k.Times)}, {&k.Classes, len(k.Classes)}} {
		c.empty(list.field, list.size)
		given = given || c.given(list.field)
	}
	given = given || k.HTTP != nil
	if !given {
		c.bad(k, "matches nothing: at least one of sources, destinations, isps, asns, countries, ports, interfaces, times, classes belongs here")
	}
	distinct(c, k.Sources)
	distinct(c, k.Destinations)
	distinct(c, k.ISPs)
	distinct(c, k.ASNs)
	distinct(c, k.Countries)
	distinct(c, k.Services)
	distinct(c, k.Interfaces)
	distinct(c, k.Classes)
}

// checkLookedUp checks what prefix lists and databases are asked for.
func (k *Class) checkLookedUp(c *checker) {
	for i := range k.ISPs {
		c.refer("isp", &k.ISPs[i])
	}
	for i := range k.ASNs {
		between(c, &k.ASNs[i], 1, 1<<32-1)
	}
	if len(k.ASNs) > 0 && !c.asns {
		c.bad(&k.ASNs, "cannot be looked up: there is no geo database and no prefixFile")
	}
	for i := range k.Countries {
		c.code(&k.Countries[i], 2, 2, "a country's two capital letters (ISO 3166-1) such as CN")
	}
	if len(k.Countries) > 0 && len(c.m.Geo.Databases) == 0 && !c.broken {
		c.bad(&k.Countries, "cannot be looked up: there is no geo database")
	}
}
