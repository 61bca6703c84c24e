package config

import (
	"errors"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Probe is a health probe that links, sites, virtual servers and pools refer
// to by name. Which fields count depends on Kind.
type Probe struct {
	Name     string   `yaml:"name" json:"name"`
	Kind     string   `yaml:"kind" json:"kind" words:"kind"` // what the probe does
	Interval Duration `yaml:"interval" json:"interval"`      // start to start, 100ms to 1h (default 5s)
	Timeout  Duration `yaml:"timeout" json:"timeout"`        // less than Interval (default 3s, or half of an interval that is no longer than that)
	Rise     int      `yaml:"rise" json:"rise"`              // successes in a row to come up, 1 to 100 (default 3)
	Fall     int      `yaml:"fall" json:"fall"`              // failures in a row to go down, 1 to 100 (default 3)

	Target Target     `yaml:"target" json:"target,omitzero"` // default: what it is attached to
	Source netip.Addr `yaml:"source" json:"source,omitzero"` // source address of its packets
	Link   string     `yaml:"link" json:"link,omitempty"`    // the link that its packets leave by, whatever the routes say: by its interface, source and mark (default that of the link whose probe it is)

	Send   string `yaml:"send" json:"send,omitempty"`     // tcp, tls, udp: payload; Go escapes such as \r\n and \x00 count
	Expect string `yaml:"expect" json:"expect,omitempty"` // tcp, tls, udp, http, https: text the reply must hold, at most 1000 bytes

	Method   string            `yaml:"method" json:"method,omitempty"`     // http, https (default GET)
	Path     string            `yaml:"path" json:"path,omitempty"`         // http, https (default /)
	Host     string            `yaml:"host" json:"host,omitempty"`         // http, https: the name asked for; tls: server name
	Headers  map[string]string `yaml:"headers" json:"headers,omitempty"`   // http, https: sent beside the probe's own
	Status   []int             `yaml:"status" json:"status,omitempty"`     // http, https: codes that pass, 100 to 599 (default any 2xx)
	Insecure bool              `yaml:"insecure" json:"insecure,omitempty"` // https, tls: do not verify the certificate
	CAFile   string            `yaml:"caFile" json:"caFile,omitempty"`     // https, tls: trust these certificates instead of the system's

	QueryName string     `yaml:"queryName" json:"queryName,omitempty"`                   // dns: the name asked for
	QueryType string     `yaml:"queryType" json:"queryType,omitempty" words:"queryType"` // dns (default A)
	Rcode     string     `yaml:"rcode" json:"rcode,omitempty" words:"rcode"`             // dns (default NOERROR)
	Answer    netip.Addr `yaml:"answer" json:"answer,omitzero"`                          // dns: an address the answer must hold

	Command []string `yaml:"command" json:"command,omitempty"` // exec: program and arguments, no shell; %h %p become host and port
	Size    int      `yaml:"size" json:"size,omitempty"`       // icmp: payload bytes, 24 to 1400 (default 56)
	Pos     Pos      `yaml:"-" json:"-"`
}

// Target is where a probe goes: an address with or without a port. In YAML
// "192.0.2.1", "192.0.2.1:80", ":8080" (the attached address, this port).
// Without a port it is that of what the probe is attached to, else the usual
// one of http, https, tls and dns; other kinds must have one.
type Target struct {
	Addr netip.Addr `json:"addr,omitzero"` // zero: the address it is attached to
	Port uint16     `json:"port,omitempty"`
}

func (p *Probe) defaults() { *p = Probe{Interval: Duration(5 * time.Second), Rise: 3, Fall: 3} }

// complete fills in the defaults that depend on what else was written.
func (p *Probe) complete() {
	const usual = Duration(3 * time.Second)
	switch {
	case p.Timeout != 0:
	case p.Interval > usual:
		p.Timeout = usual
	default:
		p.Timeout = p.Interval / 2
	}
	switch p.Kind {
	case "http", "https":
		p.Method, p.Path = or(p.Method, "GET"), or(p.Path, "/")
	case "dns":
		p.QueryType, p.Rcode = or(p.QueryType, "A"), or(p.Rcode, "NOERROR")
	case "icmp":
		p.Size = or(p.Size, 56)
	}
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// payload reads the Go escapes of Send, as package probe does.
func (p *Probe) payload() error {
	_, err := strconv.Unquote(`"` + strings.NewReplacer(`"`, `\x22`, "\n", `\n`).Replace(p.Send) + `"`)
	return err
}

func (t *Target) decodeShort(d *decoder, p *place) {
	text, _, _ := scalarText(p.node)
	if a, err := netip.ParseAddr(text); err == nil {
		d.address(p, a.String(), &t.Addr)
		return
	}
	if port, ok := strings.CutPrefix(text, ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			t.Port = uint16(n)
			return
		}
	} else if ap, err := netip.ParseAddrPort(text); err == nil && ap.Port() > 0 {
		d.address(p, ap.Addr().String(), &t.Addr)
		t.Port = ap.Port()
		return
	}
	d.fail(p, "", "%s is not an address, an address with a port, or :PORT", quote(text))
}

// belongs lists the fields that only some kinds have.
func (p *Probe) belongs() []struct {
	field any
	kinds string
} {
	return []struct {
		field any
		kinds string
	}{
		{&p.Send, "tcp, udp, tls"},
		{&p.Expect, "tcp, udp, tls, http, https"},
		{&p.Method, "http, https"},
		{&p.Path, "http, https"},
		{&p.Host, "http, https, tls"},
		{&p.Headers, "http, https"},
		{&p.Status, "http, https"},
		{&p.Insecure, "https, tls"},
		{&p.CAFile, "https, tls"},
		{&p.QueryName, "dns"},
		{&p.QueryType, "dns"},
		{&p.Rcode, "dns"},
		{&p.Answer, "dns"},
		{&p.Command, "exec"},
		{&p.Size, "icmp"},
	}
}

func (p *Probe) check(c *checker) {
	if c.need(&p.Kind, "kind") {
		for _, f := range p.belongs() {
			if c.given(f.field) && !slices.Contains(strings.Split(f.kinds, ", "), p.Kind) {
				c.bad(f.field, "belongs to probes of kind %s, not to %s", f.kinds, p.Kind)
			}
		}
	}
	p.complete()
	p.checkTimes(c)
	p.checkAim(c)
	p.checkHTTP(c)
	p.checkRest(c)
}

// checkTimes keeps a probe from being still under way when the next is due
// (FAQ 1.2.27).
func (p *Probe) checkTimes(c *checker) {
	between(c, &p.Interval, Duration(100*time.Millisecond), Duration(time.Hour))
	between(c, &p.Timeout, Duration(time.Millisecond), Duration(time.Hour))
	if p.Timeout >= p.Interval {
		c.bad(&p.Timeout, "timeout %s is not shorter than interval %s: one probe would run into the next", p.Timeout, p.Interval)
	}
	between(c, &p.Rise, 1, 100)
	between(c, &p.Fall, 1, 100)
}

func (p *Probe) checkAim(c *checker) {
	a := p.Target.Addr
	c.endpoint(&p.Source)
	if c.given(&p.Link) && c.refer("link", &p.Link) {
		p.checkLink(c)
	}
	switch {
	case a.IsUnspecified() || a.IsMulticast():
		c.bad(&p.Target, "%s is no host's address", a)
	case a.IsValid() && p.Source.IsValid() && a.Is4() != p.Source.Is4():
		c.bad(&p.Source, "%s and the target %s are of different families", p.Source, a)
	case p.Kind == "icmp" && p.Target.Port != 0:
		c.bad(&p.Target, "icmp has no ports")
	}
}

// checkLink complains about a link that ties nothing to itself.
func (p *Probe) checkLink(c *checker) {
	for _, l := range c.m.Links {
		if l != nil && l.Name == p.Link && l.Interface == "" && l.Mark == 0 && !l.Source.IsValid() {
			c.bad(&p.Link, "link %s has no interface, source or mark here, so nothing can be sent over it", quote(l.Name))
		}
	}
}

func (p *Probe) checkHTTP(c *checker) {
	p.checkPath(c)
	if strings.Trim(p.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		c.bad(&p.Method, "%s is not a method such as GET or HEAD", quote(p.Method))
	}
	if strings.ContainsAny(p.Host, " /\r\n") {
		c.bad(&p.Host, "%s is not a host", quote(p.Host))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
		p.checkHeader(c, name)
	}
	c.empty(&p.Status, len(p.Status))
	distinct(c, p.Status)
	for i := range p.Status {
		between(c, &p.Status[i], 100, 599)
	}
	if p.Insecure && p.CAFile != "" {
		c.bad(&p.CAFile, "is of no use: insecure trusts every certificate")
	}
	if c.given(&p.CAFile) {
		c.exists(&p.CAFile)
	}
}

// checkPath refuses what a request line cannot hold: the probe could never ask.
func (p *Probe) checkPath(c *checker) {
	c.empty(&p.Path, len(p.Path))
	if p.Path == "" {
		return
	}
	_, err := url.ParseRequestURI(p.Path)
	var wrong url.EscapeError
	switch {
	case !strings.HasPrefix(p.Path, "/"):
		c.bad(&p.Path, "%s is not a path that starts with /", quote(p.Path))
	case strings.Contains(p.Path, "#"):
		c.hinted(&p.Path, "write %23 if it belongs to the path", "%s has a #, and what follows one is never sent", quote(p.Path))
	case errors.As(err, &wrong):
		c.hinted(&p.Path, "write %25 for a % that is meant as such", "%s has a bad escape, %s", quote(p.Path), quote(string(wrong)))
	case err != nil || strings.ContainsAny(p.Path, " \r\n"):
		c.bad(&p.Path, "%s is not a path: it has a space or a control character", quote(p.Path))
	}
}

// checkHeader refuses a header that cannot be sent, and those that frame the
// request or the connection: they are the probe's own.
func (p *Probe) checkHeader(c *checker, name string) {
	switch value := p.Headers[name]; {
	case name == "" || strings.ContainsAny(name, " :\t\r\n") || strings.ContainsAny(value, "\r\n\x00"):
		c.bad(&p.Headers, "%s is not a header's name, or its value holds a line end", quote(name))
	case strings.EqualFold(name, "Host"):
		c.hinted(&p.Headers, "write host: "+value+" beside headers", "%s has a key of its own", quote(name))
	case slices.Contains([]string{"connection", "content-length", "trailer", "transfer-encoding"}, strings.ToLower(name)):
		c.bad(&p.Headers, "%s is set by the probe itself: it sends no body and closes", quote(name))
	}
}

func (p *Probe) checkRest(c *checker) {
	if p.payload() != nil {
		c.bad(&p.Send, "%s holds a \\ that starts no escape such as \\r, \\n or \\x00", quote(p.Send))
	}
	if len(p.Expect) > 1000 {
		c.bad(&p.Expect, "is longer than 1000 bytes")
	}
	c.empty(&p.Expect, len(p.Expect))
	switch p.Kind {
	case "dns":
		if c.need(&p.QueryName, "queryName") {
			c.domainName(&p.QueryName)
		}
	case "exec":
		if c.need(&p.Command, "command") && (len(p.Command) == 0 || p.Command[0] == "") {
			c.bad(&p.Command, "names no program")
		}
	case "icmp":
		between(c, &p.Size, 24, 1400)
	}
}

// attachment is what a probe is attached to.
type attachment struct {
	what      string
	addresses []netip.Addr // none: it is a name, or a place
	port      bool         // it has one
	source    netip.Addr   // for probes without a source of their own; may be zero
	learnt    bool         // its address is found out while it runs
}

// attach checks a list of probes against what they are attached to.
func (c *checker) attach(probes []string, on attachment) {
	for _, at := range c.referProbes(probes) {
		c.aim(at, c.probe[*at], on, "")
	}
}

// referProbes checks the names in a list of probes and gives those that there
// are.
func (c *checker) referProbes(probes []string) (known []*string) {
	distinct(c, probes)
	for i := range probes {
		if c.refer("probe", &probes[i]) {
			known = append(known, &probes[i])
		}
	}
	return known
}

// inherit checks the pool's probes on one member.
func (c *checker) inherit(m *Member, probes []string, on attachment) {
	for _, name := range probes {
		if p := c.probe[name]; p != nil {
			c.aim(m, p, on, "inherited ")
		}
	}
}

// aim complains when a probe would not know where to go, or could not get
// there.
func (c *checker) aim(at any, p *Probe, on attachment, inherited string) {
	switch ports := p.Kind == "tcp" || p.Kind == "tcp-half-open" || p.Kind == "udp"; { // the others have a usual port
	case !p.Target.Addr.IsValid() && len(on.addresses) == 0 && !on.learnt:
		c.bad(at, "%sprobe %q needs a target: %s has no address", inherited, p.Name, on.what)
	case ports && p.Target.Port == 0 && !on.port:
		c.bad(at, "%sprobe %q needs a target with a port: %s has none", inherited, p.Name, on.what)
	case p.Kind != "exec": // which may do with the source what it likes
		c.families(at, p, on, inherited)
	}
}

// families complains about targets that packets from the source cannot reach:
// the checks of those never say anything.
func (c *checker) families(at any, p *Probe, on attachment, inherited string) {
	source, targets := p.Source, on.addresses
	switch {
	case source.IsValid() && p.Target.Addr.IsValid():
		return // told at the probe
	case !source.IsValid():
		source = on.source
	}
	if p.Target.Addr.IsValid() {
		targets = []netip.Addr{p.Target.Addr}
	}
	other := slices.DeleteFunc(slices.Clone(targets), func(a netip.Addr) bool {
		return !source.IsValid() || !a.IsValid() || a.Is4() == source.Is4()
	})
	const text = "%sprobe %q cannot reach %s from its source %s, of another family"
	switch {
	case len(other) == 0:
	case len(other) == len(targets):
		c.bad(at, text, inherited, p.Name, other[0], source)
	default:
		c.warn(at, text+": that check says nothing", inherited, p.Name, other[0], source)
	}
}

func (c *checker) criteria(cr *Criteria, probes []string) {
	switch {
	case !c.given(cr):
	case len(probes) == 0:
		c.bad(cr, "has no probes to count")
	case c.given(&cr.AtLeast) && (cr.AtLeast < 1 || cr.AtLeast > len(probes)):
		c.bad(&cr.AtLeast, "%d is out of range 1 to %d, the number of probes", cr.AtLeast, len(probes))
	}
}
