package config

import "net/netip"

// Probe is a health probe that links, sites, virtual servers and pools refer
// to by name. Which fields count depends on Kind.
type Probe struct {
	Name     string   `yaml:"name" json:"name"`
	Kind     string   `yaml:"kind" json:"kind"`         // icmp, tcp, tcp-half-open, udp, http, https, tls, dns, exec
	Interval Duration `yaml:"interval" json:"interval"` // start to start, 100ms to 1h (default 5s)
	Timeout  Duration `yaml:"timeout" json:"timeout"`   // less than Interval (default 3s, or half of a shorter interval)
	Rise     int      `yaml:"rise" json:"rise"`         // successes in a row to come up, 1 to 100 (default 3)
	Fall     int      `yaml:"fall" json:"fall"`         // failures in a row to go down, 1 to 100 (default 3)

	Target Target     `yaml:"target" json:"target,omitzero"` // default: what it is attached to
	Source netip.Addr `yaml:"source" json:"source,omitzero"` // source address of its packets

	Send   string `yaml:"send" json:"send,omitempty"`     // tcp, tls, udp: payload; Go escapes such as \r\n and \x00 count
	Expect string `yaml:"expect" json:"expect,omitempty"` // tcp, tls, udp, http, https: text the reply must hold, at most 1000 bytes

	Method   string            `yaml:"method" json:"method,omitempty"`     // http, https (default GET)
	Path     string            `yaml:"path" json:"path,omitempty"`         // http, https (default /)
	Host     string            `yaml:"host" json:"host,omitempty"`         // http, https: Host header; tls: server name
	Headers  map[string]string `yaml:"headers" json:"headers,omitempty"`   // http, https
	Status   []int             `yaml:"status" json:"status,omitempty"`     // http, https (default any 2xx)
	Insecure bool              `yaml:"insecure" json:"insecure,omitempty"` // https, tls: do not verify the certificate
	CAFile   string            `yaml:"caFile" json:"caFile,omitempty"`     // https, tls: trust these certificates instead of the system's

	QueryName string     `yaml:"queryName" json:"queryName,omitempty"` // dns (required)
	QueryType string     `yaml:"queryType" json:"queryType,omitempty"` // dns (default A)
	Rcode     string     `yaml:"rcode" json:"rcode,omitempty"`         // dns (default NOERROR)
	Answer    netip.Addr `yaml:"answer" json:"answer,omitzero"`        // dns: an address the answer must hold

	Command []string `yaml:"command" json:"command,omitempty"` // exec: program and arguments, no shell; %h %p become host and port
	Size    int      `yaml:"size" json:"size,omitempty"`       // icmp: payload bytes, 24 to 1400 (default 56)
	Pos     Pos      `yaml:"-" json:"-"`
}

// Target is where a probe goes: an address with or without a port. In YAML
// "192.0.2.1", "192.0.2.1:80", ":8080" (the attached address, this port).
type Target struct {
	Addr netip.Addr `json:"addr,omitzero"` // zero: the address it is attached to
	Port uint16     `json:"port,omitempty"`
}
