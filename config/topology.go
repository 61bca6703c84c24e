package config

import "net/netip"

// Geo names the databases that country, subdivision, city, continent and asn
// matchers read: MaxMind layouts or flat ones (country_code).
type Geo struct {
	Databases []string `yaml:"databases" json:"databases,omitempty"` // relative to the config
}

// ISP is a named set of prefixes: inline, from files (one prefix a line, or
// tab-separated asn, name, prefix), or all prefixes of autonomous systems.
type ISP struct {
	Name       string         `yaml:"name" json:"name"`
	Prefixes   []netip.Prefix `yaml:"prefixes" json:"prefixes,omitempty"`
	PrefixFile string         `yaml:"prefixFile" json:"prefixFile,omitempty"`
	ASNs       []uint32       `yaml:"asns" json:"asns,omitempty"` // looked up in the geo databases and in prefix files that carry them
	Pos        Pos            `yaml:"-" json:"-"`
}

// Region is a named set of client networks: those that match any of Any, all
// of All, and none of Not. At least one list is set.
type Region struct {
	Name string   `yaml:"name" json:"name"`
	Any  []*Match `yaml:"any" json:"any,omitempty"`
	All  []*Match `yaml:"all" json:"all,omitempty"`
	Not  []*Match `yaml:"not" json:"not,omitempty"`
	Pos  Pos      `yaml:"-" json:"-"`
}

// Match is one matcher. The plain fields that are set must all match (country
// and subdivision together, for example); Any, All and Not nest.
type Match struct {
	Prefix      netip.Prefix `yaml:"prefix" json:"prefix,omitzero"`
	ISP         string       `yaml:"isp" json:"isp,omitempty"`
	Region      string       `yaml:"region" json:"region,omitempty"` // another region; loops are refused
	ASN         uint32       `yaml:"asn" json:"asn,omitempty"`
	Continent   string       `yaml:"continent" json:"continent,omitempty"`     // AF AN AS EU NA OC SA
	Country     string       `yaml:"country" json:"country,omitempty"`         // ISO 3166-1 alpha-2
	Subdivision string       `yaml:"subdivision" json:"subdivision,omitempty"` // ISO 3166-2 without the country
	City        string       `yaml:"city" json:"city,omitempty"`               // English name
	Any         []*Match     `yaml:"any" json:"any,omitempty"`
	All         []*Match     `yaml:"all" json:"all,omitempty"`
	Not         []*Match     `yaml:"not" json:"not,omitempty"`
	Pos         Pos          `yaml:"-" json:"-"`
}

// TopologyRule says that clients of a region prefer a place. Larger priority
// wins, then the longer client prefix, then the order in the file (T4).
type TopologyRule struct {
	Region   string       `yaml:"region" json:"region,omitempty"` // empty with Client unset: every client
	Client   netip.Prefix `yaml:"client" json:"client,omitzero"`  // instead of Region: one prefix
	Prefer   Place        `yaml:"prefer" json:"prefer"`
	Priority int          `yaml:"priority" json:"priority"` // 0 to 1000 (default 0)
	Pos      Pos          `yaml:"-" json:"-"`
}

// Place is a virtual server, a site, a link or an address prefix. Exactly one
// field is set.
type Place struct {
	VirtualServer string       `yaml:"virtualServer" json:"virtualServer,omitempty"`
	Site          string       `yaml:"site" json:"site,omitempty"`
	Link          string       `yaml:"link" json:"link,omitempty"`
	Prefix        netip.Prefix `yaml:"prefix" json:"prefix,omitzero"`
}
