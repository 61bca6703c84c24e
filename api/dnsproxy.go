package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsproxy"
	"github.com/portolan-lb/portolan/status"
)

// DNSProxy is the transparent DNS proxy.
type DNSProxy interface {
	Stats() dnsproxy.Stats
	Listening() dnsproxy.Listening
	// Learnt tells what a DNS server has learnt that is auto, and from whom.
	Learnt(server string) []dnsproxy.LearntAddress
	// ExplainQuery says what would become of a query.
	ExplainQuery(a dnsproxy.Ask) (*dnsproxy.Explanation, error)
	// ReportDNS takes the DNS servers that a link was given, until a time, and
	// gives those that the link has now.
	ReportDNS(link string, addresses []netip.Addr, until time.Time, by string) ([]netip.Addr, error)
}

// DNSServer is a DNS server of the proxy as it stands.
type DNSServer struct {
	Name     string                   `json:"name"`
	Row      status.Row               `json:"row"`
	Link     string                   `json:"link,omitempty"` // empty: it is asked by the routing table
	Protocol string                   `json:"protocol"`
	Port     uint16                   `json:"port"`
	Auto     bool                     `json:"auto,omitempty"`
	Has      []dnsproxy.LearntAddress `json:"addresses"` // with who told them, if they were learnt
	Pools    []string                 `json:"pools"`
	Stats    *dnsproxy.ServerStats    `json:"stats,omitempty"` // nil: there is no proxy
}

// DNSProxyState is the proxy as it stands.
type DNSProxyState struct {
	Enabled   bool               `json:"enabled"`
	Listening dnsproxy.Listening `json:"listening"`
	Kernel    status.Row         `json:"kernel"` // whether queries are brought to it
	Stats     dnsproxy.Stats     `json:"stats"`
}

// DNSReport tells the DNS servers that a link was given, for [DNSServer]s that
// are auto. It takes the place of the report before, and goes before all else
// that is known of the link; without addresses it takes back what was told.
type DNSReport struct {
	Addresses []netip.Addr     `json:"addresses"`
	For       *config.Duration `json:"for,omitempty"` // it counts so long, 1s to 168h (default 1h)
}

// DNSReported is what became of a report.
type DNSReported struct {
	Link      string       `json:"link"`
	Addresses []netip.Addr `json:"addresses"` // that the link has now
	Until     time.Time    `json:"until"`
}

// Bounds of a report.
const (
	mostDNSServers      = 8
	longestDNSReport    = 168 * time.Hour
	defaultDNSReportFor = time.Hour
)

func (s *Server) dnsServers(*http.Request) (any, error) {
	v := s.view()
	pools, stats := v.dnsPools(), v.dnsServerStats()
	return list(v.model.DNSServers, func(c *config.DNSServer) DNSServer { return v.dnsServer(c, pools, stats) }), nil
}

// dnsPools gives the pools of each DNS server.
func (v view) dnsPools() map[string][]string {
	pools := map[string][]string{}
	for _, p := range v.model.DNSServerPools {
		for _, m := range p.Members {
			pools[m.Server] = append(pools[m.Server], p.Name)
		}
	}
	return pools
}

func (v view) dnsServerStats() map[string]*dnsproxy.ServerStats {
	all := map[string]*dnsproxy.ServerStats{}
	if v.opts.DNSProxy != nil && v.model.ProxiesDNS() {
		for _, s := range v.opts.DNSProxy.Stats().Servers {
			all[s.Name] = &s
		}
	}
	return all
}

func (v view) dnsServer(c *config.DNSServer, pools map[string][]string, stats map[string]*dnsproxy.ServerStats) DNSServer {
	shown := DNSServer{Name: c.Name, Row: v.row(status.KindDNSServer, c.Name), Link: c.Link, Protocol: c.Protocol, Port: c.Port, Auto: c.Auto,
		Has: []dnsproxy.LearntAddress{}, Pools: append([]string{}, pools[c.Name]...), Stats: stats[c.Name]}
	for _, a := range c.Addresses {
		shown.Has = append(shown.Has, dnsproxy.LearntAddress{Address: a, Source: "configuration"})
	}
	if c.Auto && v.opts.DNSProxy != nil {
		shown.Has = append(shown.Has, v.opts.DNSProxy.Learnt(c.Name)...)
	}
	return shown
}

func (v view) describeDNSServer(name string) *Description {
	c := find(v.model.DNSServers, func(c *config.DNSServer) string { return c.Name }, name)
	if c == nil {
		return nil
	}
	return v.withRow(status.KindDNSServer, name, c, v.dnsServer(c, v.dnsPools(), v.dnsServerStats()))
}

// errNoProxy says that the configuration has none.
func errNoProxy() error {
	return Errorf(NotFound, "this node has no DNS proxy: the configuration has no dnsProxy, or it is not enabled")
}

func (s *Server) dnsProxy(*http.Request) (any, error) {
	v := s.view()
	if s.opts.DNSProxy == nil {
		return nil, errNoProxy()
	}
	return DNSProxyState{Enabled: v.model.ProxiesDNS(), Listening: s.opts.DNSProxy.Listening(), Kernel: v.row(status.KindKernel, dnsproxy.Owner), Stats: s.opts.DNSProxy.Stats()}, nil
}

// ParseDNSQuery reads a query as people and requests write it. asked may be
// empty. Errors are of kind [Invalid].
func ParseDNSQuery(name, rtype, client, asked string) (a dnsproxy.Ask, err error) {
	q, err := ParseExplainQuery(name, rtype, client, "", nil)
	if err != nil {
		return a, err
	}
	a = dnsproxy.Ask{Client: q.Client, Name: name}
	var known bool
	if a.Type, known = dnsproxy.ParseType(q.Type); !known {
		return a, Errorf(Invalid, "type %q is no record type", rtype)
	}
	if asked == "" {
		a.Asked = netip.AddrFrom4([4]byte{}) // nobody in particular
		if a.Client.Is6() {
			a.Asked = netip.IPv6Unspecified()
		}
		return a, nil
	}
	if a.Asked, err = netip.ParseAddr(asked); err != nil || a.Asked.Zone() != "" {
		return a, Errorf(Invalid, "asked %q is not an address", asked)
	}
	return a, nil
}

func (s *Server) explainDNSProxy(r *http.Request) (any, error) {
	v := r.URL.Query()
	a, err := ParseDNSQuery(v.Get("name"), v.Get("type"), v.Get("client"), v.Get("asked"))
	if err != nil {
		return nil, err
	}
	if s.opts.DNSProxy == nil || !s.opts.Model().ProxiesDNS() {
		return nil, errNoProxy()
	}
	e, err := s.opts.DNSProxy.ExplainQuery(a)
	if err != nil { // it can only be the question
		return nil, Errorf(Invalid, "%v", err)
	}
	return e, nil
}

func (s *Server) reportDNS(r *http.Request) (any, error) {
	var req DNSReport
	if err := decode(r, maxSmallBody, &req); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	v := s.view()
	l := find(v.model.Links, func(c *config.Link) string { return c.Name }, name)
	auto := slices.ContainsFunc(v.model.DNSServers, func(d *config.DNSServer) bool { return d.Auto && d.Link == name })
	length := defaultDNSReportFor
	if req.For != nil {
		length = time.Duration(*req.For)
	}
	switch {
	case l == nil:
		return nil, v.noSuch("link", name, v.names("link"))
	case !auto || s.opts.DNSProxy == nil:
		return nil, Errorf(Conflict, "link %q has no DNS server with auto: true, so nobody wants to know", name)
	case len(req.Addresses) > mostDNSServers:
		return nil, Errorf(Invalid, "%d addresses are more than %d", len(req.Addresses), mostDNSServers)
	case length < time.Second || length > longestDNSReport:
		return nil, Errorf(Invalid, "for %s is not from 1s to %s", config.Duration(length), config.Duration(longestDNSReport))
	}
	done := DNSReported{Link: name, Until: time.Now().Add(length)}
	var err error
	if done.Addresses, err = s.opts.DNSProxy.ReportDNS(name, req.Addresses, done.Until, who(r.Context())); err != nil {
		return nil, Errorf(Invalid, "%v", err)
	}
	return done, nil
}

// Told says in a line what a link has after a report.
func (d DNSReported) Told() string {
	if len(d.Addresses) == 0 {
		return "link/" + d.Link + " has no DNS server now"
	}
	var words []string
	for _, a := range d.Addresses {
		words = append(words, a.String())
	}
	return "link/" + d.Link + " has " + strings.Join(words, " ") + "; reported until " + d.Until.Local().Format(time.RFC3339)
}
