package api

import (
	"net/netip"
	"strings"

	"github.com/portolan-lb/portolan/status"
)

// maxName is the longest a name of 255 octets can be in text, each of them
// written \DDD.
const maxName = 4 * 255

// ParseExplainQuery reads a question as people and requests write it, so that
// one that is asked offline means the same. The type may be empty, for A, and
// so may ecs. Errors are of kind [Invalid].
func ParseExplainQuery(name, rtype, client, ecs string, down []string) (ExplainQuery, error) {
	q := ExplainQuery{Name: name, Type: strings.ToUpper(rtype)}
	if name == "" || len(name) > maxName {
		return q, Errorf(Invalid, "name %q is not a domain name", name[:min(len(name), 80)])
	}
	if q.Type == "" {
		q.Type = "A"
	}
	var err error
	if q.Client, err = netip.ParseAddr(client); err != nil || q.Client.Zone() != "" {
		return q, Errorf(Invalid, "client %q is not an address", client)
	}
	q.Client = q.Client.Unmap()
	if ecs != "" {
		var ok bool
		if q.ECS, ok = parseECS(ecs); !ok {
			return q, Errorf(Invalid, "ecs %q is not a prefix such as 203.0.113.0/24", ecs)
		}
	}
	for _, id := range down {
		if !strings.Contains(id, "/") {
			return q, Errorf(Invalid, "down %q is not a row such as virtualServer/web", id)
		}
		q.Down = append(q.Down, status.ID(id))
	}
	return q, nil
}

// parseECS reads a prefix, or an address as a prefix of its own. Bits beyond
// the length do not count, as in a query (RFC 7871 6).
func parseECS(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), a.Zone() == ""
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err == nil && !p.Addr().Is4In6()
}
