package config

// Model is a whole configuration after defaults and validation. It is
// immutable: readers share it without locks.
//
// Lists keep the order of the file, because order breaks ties (T26).
type Model struct {
	Version int  `yaml:"version" json:"version"`
	Node    Node `yaml:"node" json:"node,omitzero"`
	DNS     DNS  `yaml:"dns" json:"dns,omitzero"`

	Zones          []*Zone          `yaml:"zones" json:"zones,omitempty"`
	Pools          []*Pool          `yaml:"pools" json:"pools,omitempty"`
	VirtualServers []*VirtualServer `yaml:"virtualServers" json:"virtualServers,omitempty"`
	Links          []*Link          `yaml:"links" json:"links,omitempty"`
	Sites          []*Site          `yaml:"sites" json:"sites,omitempty"`
	Probes         []*Probe         `yaml:"probes" json:"probes,omitempty"`
	Geo            Geo              `yaml:"geo" json:"geo,omitzero"`
	ISPs           []*ISP           `yaml:"isps" json:"isps,omitempty"`
	Regions        []*Region        `yaml:"regions" json:"regions,omitempty"`
	Topology       []*TopologyRule  `yaml:"topology" json:"topology,omitempty"`
}

// Node says which node this is.
type Node struct {
	Name string `yaml:"name" json:"name,omitempty"` // default: the host's name, filled in by daemon
	Site string `yaml:"site" json:"site,omitempty"` // a site of Sites, or empty
}

// Pos is a place in a configuration file. Line and Col count from 1; the zero
// Pos means unknown.
type Pos struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"col"`
}
