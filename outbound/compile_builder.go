package outbound

import (
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// builder writes the table of one [Plan.Wishes].
type builder struct {
	traffic.Matcher
	plan  *Plan
	facts Facts
	nics  map[string]*kernel.Interface
}

// linkOf is the number of the link in a mark.
func linkOf(of kernel.Value) kernel.Value {
	return kernel.Masked{Of: of, Mask: kernel.Number(kernel.LinkMask)}
}
