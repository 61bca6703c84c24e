package config

// MayCNAME gives a CNAME that the pool of that name may answer, itself or
// through other pools, or "". A name that is bound to such a pool can own no
// other records (RFC 1034 3.6.2, RFC 2181 10.1).
func (m *Model) MayCNAME(pool string) string {
	c := &checker{pools: make(map[string]*Pool, len(m.Pools))}
	for _, p := range m.Pools {
		c.pools[p.Name] = p
	}
	if found := c.cnames(pool); len(found) > 0 {
		return found[0]
	}
	return ""
}
