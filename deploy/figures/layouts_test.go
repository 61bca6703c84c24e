package figures

import (
	"fmt"
	"strings"
)

// Two ways to balance as one finds them, of our own making: a list of rules, one a
// service, as in kube-proxy's iptables mode, and a map of chains, one a service
// and one a server, as in its nftables mode.

// list is one chain with a rule a service, each with its servers.
func list(virtuals int) string {
	var t strings.Builder
	t.WriteString("table ip rival {\n\tchain serve {\n\t\ttype nat hook prerouting priority -100;\n")
	for i := range virtuals {
		fmt.Fprintf(&t, "\t\tip daddr %s udp dport 9 dnat to numgen random mod %d map { %s }\n", virtual(i), perFarm, servers(i))
	}
	t.WriteString("\t}\n}\n")
	return t.String()
}

// servers are the elements of a map of a service's servers.
func servers(vs int) string {
	all := make([]string, perFarm)
	for k := range all {
		all[k] = fmt.Sprintf("%d : %s", k, server(vs, k))
	}
	return strings.Join(all, ", ")
}

// chains is a map of chains, which draw one of the chains of their servers.
func chains(virtuals int) string {
	var t, m strings.Builder
	t.WriteString("table ip rival {\n")
	for i := range virtuals {
		for k := range perFarm {
			fmt.Fprintf(&t, "\tchain server_%d_%d {\n\t\tmeta l4proto udp dnat to %s:9\n\t}\n", i, k, server(i, k))
		}
		fmt.Fprintf(&t, "\tchain service_%d {\n\t\t%s\n\t}\n", i, chainRule(i, perFarm))
		fmt.Fprintf(&m, "\t\t\t%s . udp . 9 : goto service_%d,\n", virtual(i), i)
	}
	t.WriteString("\tmap services {\n\t\ttype ipv4_addr . inet_proto . inet_service : verdict\n\t\telements = {\n" + m.String() + "\t\t}\n\t}\n")
	t.WriteString("\tchain serve {\n\t\ttype nat hook prerouting priority -100;\n\t\tip daddr . meta l4proto . th dport vmap @services\n\t}\n}\n")
	return t.String()
}

// chainRule draws one of the first so many servers of a service.
func chainRule(vs, live int) string {
	all := make([]string, live)
	for k := range all {
		all[k] = fmt.Sprintf("%d : goto server_%d_%d", k, vs, k)
	}
	return fmt.Sprintf("numgen random mod %d vmap { %s }", live, strings.Join(all, ", "))
}

// chainDown takes the last server of a service out, or puts it in again.
func chainDown(vs int, down bool) string {
	live := perFarm
	if down {
		live--
	}
	return fmt.Sprintf("flush chain ip rival service_%d\nadd rule ip rival service_%d %s\n", vs, vs, chainRule(vs, live))
}
