package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/kernel"
)

// Bits of the marks that we own now; those of slb are free until it is there.
const (
	packetBits     = kernel.LinkMask | kernel.Intercepted
	connectionBits = kernel.LinkMask | kernel.Inbound | kernel.Placed
)

// Priorities of our rules (outbound.md 2.2): queries for the proxy, the inside,
// then the links by their mark.
const (
	proxyRule = 500
	firstRule = 900
	lastRule  = 1000 + kernel.MaxLink
	freeRule  = 10000 // from here on are the administrator's
)

// ruleMarks tells of rules of others that look at bits of ours.
func ruleMarks(f *Facts) (list []Finding) {
	if !f.gateway() {
		return nil
	}
	for _, r := range f.Rules {
		if r.Ours || r.Mask&packetBits == 0 || r.Not {
			continue
		}
		list = append(list, Finding{ID: "rule-marks", Level: Problem,
			What:   fmt.Sprintf("rule %d of another program looks at bits %s of the packet mark, which are ours (0-9 link, 28 DNS proxy)", r.Priority, bits(r.Mask&packetBits)),
			Breaks: "packets of a link go where that rule says, or packets that the other program marks go by our links", Evidence: ruleText(&r),
			Repair: f.ruleRepair(&r, []string{deleteRule(&r)})})
	}
	return list
}

// ruleRepair ends a program that makes rules again, if one is known for it.
func (f *Facts) ruleRepair(r *kernel.PolicyEntry, otherwise []string) []string {
	if f.Programs["mwan3"] && (r.Mask == 0x3f00 || r.Priority > 1000 && r.Priority < 3300) {
		return endsMwan3
	}
	return otherwise
}

var endsMwan3 = []string{"service mwan3 stop", "service mwan3 disable"}

func dash(v6 bool) string {
	if v6 {
		return "-6"
	}
	return "-4"
}

func ruleText(r *kernel.PolicyEntry) string {
	return fmt.Sprintf("ip %s rule: %d: %s", dash(r.IPv6), r.Priority, r.Text)
}

// deleteRule is the command that removes a rule. What the ip program could not
// tell apart by what we know of it is told by its priority alone.
func deleteRule(r *kernel.PolicyEntry) string {
	if r.Narrow || r.Suppress || r.Goes {
		return fmt.Sprintf("ip %s rule del pref %d", dash(r.IPv6), r.Priority)
	}
	return fmt.Sprintf("ip %s rule del pref %d %s", dash(r.IPv6), r.Priority, r.Text)
}

// bits writes the numbers of bits.
func bits(mask uint32) string {
	s := ""
	for from := 0; from < 32; from++ {
		if mask>>from&1 == 0 {
			continue
		}
		to := from
		for to < 31 && mask>>(to+1)&1 == 1 {
			to++
		}
		if s != "" {
			s += ", "
		}
		if s += fmt.Sprint(from); to > from {
			s += fmt.Sprintf("-%d", to)
		}
		from = to
	}
	return s
}

// rulesBefore tells of rules of others that come before ours and may take what is
// balanced.
func rulesBefore(f *Facts) (list []Finding) {
	for _, r := range f.Rules {
		if !f.Balances || !f.takesBalanced(&r) {
			continue
		}
		level, breaks := Problem, "what it takes leaves by the table that it names, whatever link was chosen, with the source address of that link"
		if r.To.IsValid() || r.Suppress {
			level, breaks = Hint, "what it takes is not balanced; if that is meant, outbound.exempt says it to all of us"
		}
		moved := fmt.Sprintf("ip %s rule add pref %d %s", dash(r.IPv6), freeRule+r.Priority, r.Text)
		repair := []string{moved, deleteRule(&r)}
		if r.Narrow || r.Suppress || r.Goes {
			repair = []string{deleteRule(&r)}
		}
		list = append(list, Finding{ID: "rule-before", Level: level, What: fmt.Sprintf("rule %d of another program comes before those of links", r.Priority),
			Breaks: breaks, Evidence: ruleText(&r) + "; those of links are 1001 to 2023, the administrator's belong to 10000 and above", Repair: f.ruleRepair(&r, repair)})
	}
	return list
}

// takesBalanced says whether a rule may take packets that a link was chosen for.
func (f *Facts) takesBalanced(r *kernel.PolicyEntry) bool {
	const local, unspec = 255, 0
	switch {
	case r.Ours, r.Priority > lastRule, r.Table == local, r.IPv6 && !f.insideIPv6():
		return false
	case r.Table == unspec && !r.Goes: // of VRFs: [l3mdev-table]
		return false
	case r.Mask != 0 && !r.Not: // only what bears their mark, see ruleMarks
		return false
	case r.In != "" && !slices.Contains(f.Inside, r.In):
		return false
	case r.To.IsValid() && within(r.To, f.Exempt):
		return false
	case r.From.IsValid() && r.From.IsSingleIP() && f.own(r.From.Addr()): // as hosts with several lines have
		return false
	}
	return true
}

// own says whether an address is one of this machine's.
func (f *Facts) own(a netip.Addr) bool {
	return slices.ContainsFunc(f.Interfaces, func(n kernel.Interface) bool {
		return slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
	})
}

// tailscaleRuns goes by its rules: 5210 to 5270 with bits 16 to 23.
func (f *Facts) tailscaleRuns() bool {
	return f.Programs["tailscale"] || slices.ContainsFunc(f.Rules, func(r kernel.PolicyEntry) bool {
		return r.Priority >= 5210 && r.Priority <= 5270 && r.Mask == 0xff0000
	})
}

// tailnet is where Tailscale's addresses are (RFC 6598).
var tailnet = netip.MustParsePrefix("100.64.0.0/10")

// tailscale comes after us: what goes to its network is balanced unless exempt.
func tailscale(f *Facts) []Finding {
	if !f.Configured || !f.Balances || !f.tailscaleRuns() || within(tailnet, f.Exempt) {
		return nil
	}
	return []Finding{{ID: "tailscale-exempt", Level: Hint, What: "Tailscale runs here, and its network is not exempt from balancing",
		Breaks:   "what the inside sends to " + tailnet.String() + " leaves by a link instead of the tunnel: Tailscale's rules (5210 to 5270) come after those of links",
		Evidence: "outbound.exempt does not hold " + tailnet.String(), Repair: []string{"add " + tailnet.String() + " to outbound.exempt, then: portolan reload"}}}
}
