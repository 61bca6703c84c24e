package dnsproxy

import "github.com/portolan-lb/portolan/flow"

// Names tells explain what the chains of [Table] are for.
func Names() flow.Names {
	return flow.Names{Chain: func(table, _ string) flow.Role {
		if table != Table {
			return flow.Role{}
		}
		return flow.Role{Kind: flow.DNSProxy}
	}}
}
