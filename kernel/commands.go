package kernel

import (
	"fmt"
	"strconv"
	"strings"
)

// Commands writes what an owner wishes beside his tables as the commands that
// would do the same, in the order in which they are done; [Wishes.Text] writes
// the tables. A sysctl that is not ours to set stands as a comment. An owner
// without a number has routes without one, which would not be known for ours.
func (w *Wishes) Commands(owner string) string {
	protocol := protocolNumbers[owner]
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for i := range w.Sysctls {
		s := &w.Sysctls[i]
		if len(s.Values) == 0 {
			continue
		}
		if !s.Repair {
			line("# %s has to be %s: %s", s.dotted(), strings.Join(s.Values, " or "), s.Why)
			continue
		}
		line("sysctl -w %s=%s # %s", s.dotted(), s.Values[0], s.Why)
	}
	for i := range w.Addresses {
		a := &w.Addresses[i]
		line("ip %s address add %s proto %d%s", family(a.Prefix.Addr().Is6()), a, protocol, a.flags())
	}
	for i := range w.Routes {
		line("ip %s route add %s proto %d", family(w.Routes[i].To.Addr().Is6()), &w.Routes[i], protocol)
	}
	for i := range w.Rules {
		line("ip %s rule add %s proto %d", family(w.Rules[i].IPv6), &w.Rules[i], protocol)
	}
	for _, s := range w.Shapers {
		major := handleOf(protocol)
		if s.Out > 0 {
			shaperCommands(line, s.Interface, major, s.Out)
		}
		if s.In > 0 {
			ifb := "IFB" // named after the index of the interface
			line("ip link add %s type ifb # portolanN, N being the index of %s", ifb, s.Interface)
			line("ip link set %s up alias %q", ifb, ifbAlias(owner, s.Interface))
			shaperCommands(line, ifb, major, s.In)
			line("tc qdisc add dev %s handle ffff: ingress", s.Interface)
			line("tc filter add dev %s parent ffff: prio %d protocol all u32 match u32 0 0 action mirred egress redirect dev %s", s.Interface, major, ifb)
		}
	}
	return b.String()
}

func family(v6 bool) string {
	if v6 {
		return "-6"
	}
	return "-4"
}

func shaperCommands(line func(string, ...any), device string, number uint16, rate uint64) {
	major := strconv.FormatUint(uint64(number), 16)
	line("tc qdisc add dev %s root handle %s: htb default 1", device, major)
	line("tc class add dev %s parent %s: classid %[2]s:1 htb rate %[3]dbit ceil %[3]dbit burst %[4]d quantum %[5]d", device, major, rate, burst(rate), quantum(rate))
	line("tc qdisc add dev %s parent %s:1 handle %x: fq_codel # or bfifo limit %d", device, major, leafOf(number), backlog(rate))
}
