package config

// Zone is an authoritative zone: a master file for static records, and names
// that are bound to pools.
type Zone struct {
	Name  string  `yaml:"name" json:"name"` // canonical after Load: lower case, fully qualified
	File  string  `yaml:"file" json:"file"` // relative to the config
	Names []*Name `yaml:"names" json:"names,omitempty"`
	Pos   Pos     `yaml:"-" json:"-"`
}

// Name is a dynamic name: the pool answers its A, AAAA and address hints.
type Name struct {
	Name  string `yaml:"name" json:"name"` // relative to the zone; "@" is the apex, "*" a wildcard
	Pool  string `yaml:"pool" json:"pool"`
	TTL   TTL    `yaml:"ttl" json:"ttl"`
	Group string `yaml:"group" json:"group,omitempty"` // names of one group share a decision (default: the name itself)
	FQDN  string `yaml:"-" json:"fqdn"`                // canonical full name, filled in by Load
	Pos   Pos    `yaml:"-" json:"-"`
}

// TTL bounds the time to live of a dynamic name's answers. A single value
// sets both bounds. Default 30s to 30s. Range 0s to 24h in whole seconds.
type TTL struct {
	Min Duration `yaml:"min" json:"min"`
	Max Duration `yaml:"max" json:"max"`
}
