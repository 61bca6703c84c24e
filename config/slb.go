package config

// SLB is what holds for all virtual servers that this node serves.
type SLB struct {
	Enabled       bool `yaml:"enabled" json:"enabled"`                       // false: nothing is served, what was told to the kernel is taken back, and virtual servers that would be served are down (default true)
	Local         bool `yaml:"local" json:"local"`                           // this node's own new connections to virtual servers are balanced too (default true)
	Unreachables  bool `yaml:"unreachables" json:"unreachables,omitempty"`   // where connections are reset, clients of UDP and ICMP are told by ICMP that nobody is there, at a bounded rate (default false: they hear nothing, FAQ 1.1.16)
	OneFarm       bool `yaml:"oneFarm" json:"oneFarm,omitempty"`             // a server, by its address and port, may stand in one farm only (default false, FAQ 1.1.1)
	RepairSysctls bool `yaml:"repairSysctls" json:"repairSysctls,omitempty"` // set kernel settings that would break serving, such as net.ipv4.ip_forward; without, they are only reported (default false)

	Policies      []*FarmPolicy  `yaml:"policies" json:"policies,omitempty"`
	Classes       []*Class       `yaml:"classes" json:"classes,omitempty"`             // as in outbound, but isps, asns and countries are those of the client
	LimitPolicies []*LimitPolicy `yaml:"limitPolicies" json:"limitPolicies,omitempty"` // as in outbound; destinations are those that the client asked for
	Profiles      []*Profile     `yaml:"profiles" json:"profiles,omitempty"`
	Pos           Pos            `yaml:"-" json:"-"`
}

// FarmPolicy is an ordered list of rules. The first whose class matches has the
// connection, unless no server takes it and the action says to go on. What no
// rule takes goes to the farm of the virtual server (FAQ 1.1.7).
type FarmPolicy struct {
	Name  string      `yaml:"name" json:"name"`
	Kind  PolicyKind  `yaml:"kind" json:"kind" words:"policyKind"` // what its classes may look at (default generic)
	Rules []*FarmRule `yaml:"rules" json:"rules,omitempty"`        // none: everything goes to the farm of the virtual server
	Pos   Pos         `yaml:"-" json:"-"`
}

// PolicyKind says what the classes of a policy may look at.
type PolicyKind string

// What the classes of a policy may look at.
const (
	PolicyGeneric PolicyKind = "generic" // connections
	PolicyHTTP    PolicyKind = "http"    // requests too; not in effect on virtual servers of type tcp, udp and ip (FAQ 1.1.10)
)

// FarmRule is one rule of a policy.
type FarmRule struct {
	Class  string      `yaml:"class" json:"class,omitempty"`   // what it is for (default everything)
	Action *FarmAction `yaml:"action" json:"action,omitempty"` // what becomes of it (default it goes to the farm of the virtual server, FAQ 1.1.7)
	Pos    Pos         `yaml:"-" json:"-"`
}

// FarmAction is what becomes of a connection: it goes to a server farm, or is
// dropped. Without a farm, and with one that has no servers, it is dropped
// (FAQ 1.1.7). In YAML it is also a bare word of do.
type FarmAction struct {
	Do          FarmWord    `yaml:"do" json:"do,omitempty" words:"farmAction"`                  // instead of a server farm
	Farm        string      `yaml:"farm" json:"farm,omitempty"`                                 // one of its servers takes the connection
	Backup      string      `yaml:"backup" json:"backup,omitempty"`                             // the server farm while farm is not available
	Persistence string      `yaml:"persistence" json:"persistence,omitempty"`                   // which clients keep the server that they have
	OnFailure   FailureWord `yaml:"onFailure" json:"onFailure,omitempty" words:"actionFailure"` // when neither farm nor backup has a server for it: all are down or held (default drop)
	TOS         *TOS        `yaml:"tos" json:"tos,omitempty"`                                   // set in what goes to the server (FAQ 1.1.5)
	Pos         Pos         `yaml:"-" json:"-"`
}

// FarmWord is an action without a server farm.
type FarmWord string

// FarmActionDrop is the one action without a server farm.
const FarmActionDrop FarmWord = "drop" // it is dropped

// Profile holds what virtual servers of HTTP do with requests. None of them is
// built yet: it may be referred to and is not in effect (FAQ 1.1.10).
type Profile struct {
	Name                string `yaml:"name" json:"name"`
	RebalancePerRequest bool   `yaml:"rebalancePerRequest" json:"rebalancePerRequest,omitempty"` // each request of a connection is balanced for itself (default false: the first decides, FAQ 1.1.3)
	HeadersPerRequest   bool   `yaml:"headersPerRequest" json:"headersPerRequest,omitempty"`     // headers of each request are changed (default false: of the first, FAQ 1.1.4)
	Pos                 Pos    `yaml:"-" json:"-"`
}

// HTTPMatch says which requests a class is for: inside a list one entry must
// match, and of the lists that are given all must.
type HTTPMatch struct {
	Hosts   []string          `yaml:"hosts" json:"hosts,omitempty"`     // names asked for
	Paths   []string          `yaml:"paths" json:"paths,omitempty"`     // what the path begins with
	Methods []string          `yaml:"methods" json:"methods,omitempty"` // such as GET
	Headers map[string]string `yaml:"headers" json:"headers,omitempty"` // by name: what the value holds
	Cookies map[string]string `yaml:"cookies" json:"cookies,omitempty"` // by name: what the value holds
}

func (s *SLB) defaults() { *s = SLB{Enabled: true, Local: true} }

func (p *FarmPolicy) defaults() { p.Kind = PolicyGeneric }

func (a *FarmAction) defaults() { *a = FarmAction{OnFailure: FailureDrop} }

func (a *FarmAction) decodeShort(d *decoder, p *place) {
	if word, _, _ := scalarText(p.node); d.word(p, word, "farmAction") {
		a.Do = FarmWord(word)
	}
}

// Serves says whether this node serves virtual servers. Then m.SLB is not nil.
func (m *Model) Serves() bool {
	if m.SLB == nil || !m.SLB.Enabled {
		return false
	}
	for _, v := range m.VirtualServers {
		if v.Served() {
			return true
		}
	}
	return false
}
