package config

import "fmt"

// NotInEffect lists what a virtual server refers to that is accepted and not in
// effect, each with the reason: what looks at requests, where connections are
// passed on (FAQ 1.1.10, T48). It serves as if they were not given.
func (m *Model) NotInEffect(v *VirtualServer) []string {
	if v.Serve == nil {
		return nil
	}
	return v.Serve.idle
}

// Requests says whether the persistence looks at requests, and not only at
// addresses and ports.
func (p *Persistence) Requests() bool {
	switch p.By {
	case PersistByCookie, PersistByHeader, PersistByURL, PersistBySSLSession:
		return true
	}
	return false
}

// notInEffect finds what is not in effect, and warns of it.
func (s *Serve) notInEffect(c *checker) {
	say := func(field *string, format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		s.idle = append(s.idle, text)
		c.warn(field, "%s: not in effect on type %s, which passes on connections (FAQ 1.1.10)", text, s.Type)
	}
	if s.Profile != "" {
		say(&s.Profile, "profile %q is of HTTP", s.Profile)
	}
	if p := c.gateway.persistence[s.Persistence]; p != nil && p.Requests() {
		say(&s.Persistence, "persistence %q is by %s", p.Name, p.By)
	}
	p := c.farms.policies[s.Policy]
	switch {
	case p == nil:
	case p.Kind == PolicyHTTP:
		say(&s.Policy, "policy %q is of kind http", p.Name)
	default:
		for _, k := range c.farms.keeps[p.Name] {
			say(&s.Policy, "persistence %q of policy %q is by %s", k.Name, p.Name, k.By)
		}
	}
}
