package config

import "net/netip"

// LimitPolicy bounds the connections of a virtual server by where they come
// from or go to. The first rule that matches a connection decides; what none
// matches is not bounded.
type LimitPolicy struct {
	Name  string       `yaml:"name" json:"name"`
	Rules []*LimitRule `yaml:"rules" json:"rules"` // at least one
	Pos   Pos          `yaml:"-" json:"-"`
}

// LimitRule is one bound: at upper new connections are refused, and taken
// again only when there are fewer than lower (T29).
type LimitRule struct {
	Sources      []netip.Prefix `yaml:"sources" json:"sources,omitempty"`           // networks that it is for (default all)
	Destinations []netip.Prefix `yaml:"destinations" json:"destinations,omitempty"` // networks that it is for (default all)
	Per          []string       `yaml:"per" json:"per,omitempty" words:"limitPer"`  // what is counted for itself; several: each combination (default nothing: all together)
	Upper        int            `yaml:"upper" json:"upper"`                         // connections at once, 1 to 2000000000
	Lower        int            `yaml:"lower" json:"lower"`                         // 1 to upper (default upper)
	Pos          Pos            `yaml:"-" json:"-"`
}

// What a rule of a limit policy counts for itself.
const (
	LimitPerSource      = "source"
	LimitPerDestination = "destination"
	LimitPerService     = "service"
)
