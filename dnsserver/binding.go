package dnsserver

// binding is a dynamic name tied to its pool, compiled.
type binding struct {
	fqdn string
}

// decide gives the decision of a name for a client. A second call in the same
// query gives the same decision.
func (b *binding) decide(q *question, qtype uint16) *decision { return &decision{} }

// Trace collects why a query was answered as it was.
type Trace struct{}
