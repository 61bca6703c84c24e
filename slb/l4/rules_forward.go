package l4

import (
	"cmp"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// forward sees every packet of served connections, nothing if the configuration asks
// for nothing there: at the hook forward, and where this machine itself is the client
// or a server, at those of what it sends and of what comes to it, which forwarded
// packets do not pass. Answers have the server's address there still. What goes over
// lo was seen when it was sent.
func (w *writer) forward() {
	to, from := w.toServer(), w.toClient()
	if len(to)+len(from) == 0 {
		return
	}
	hook := func(name, point string, rules func() []kernel.Rule) {
		w.Base(name, kernel.Hook{Type: "filter", Point: point, Priority: forwardPriority}, rules)
	}
	pass := func() []kernel.Rule { return w.pass(to, from) }
	hook("forward", "forward", pass)
	hook("leave_own", "output", pass)
	hook("arrive_own", "input", func() []kernel.Rule {
		return append([]kernel.Rule{traffic.Rule("seen when it was sent", kernel.Is{Of: kernel.InName, To: kernel.Name("lo")}, kernel.Accept{})}, pass()...)
	})
}

// pass leads packets of virtual servers to the rules of their direction.
func (w *writer) pass(to, from []kernel.Rule) []kernel.Rule {
	return []kernel.Rule{traffic.Rule("packets of a virtual server", traffic.AnyBit(kernel.CtMark, kernel.ServerMask),
		kernel.Goto{Chain: w.ChainFor(flow.VirtualServer, "", "pass", func() []kernel.Rule {
			back := kernel.Step(kernel.Accept{})
			if len(from) > 0 {
				back = kernel.Goto{Chain: w.Chain("pass_back", func() []kernel.Rule { return from })}
			}
			return append([]kernel.Rule{traffic.Rule("from the server", kernel.Is{Of: kernel.CtDirection, To: []byte{1}}, back)}, to...)
		})})}
}

// at asks a set of real servers, by address and port, then by address alone for
// those that have no port of their own.
func (w *writer) at(tell, set string, source bool, then ...kernel.Step) (rules []kernel.Rule) {
	for _, f := range traffic.Families() {
		addr, port := f.Dest, kernel.DestPort
		if source {
			addr, port = f.Source, kernel.SourcePort
		}
		rules = append(rules,
			traffic.Rule(tell, append([]kernel.Step{w.in(set+f.Digit, addr, port)}, then...)...),
			traffic.Rule(tell, append([]kernel.Step{w.in(set+"_host"+f.Digit, addr)}, then...)...))
	}
	return rules
}

// toServer is for packets of the original direction: after the translation, so
// that their destination is the server.
func (w *writer) toServer() (rules []kernel.Rule) {
	if w.has.resets {
		dead := kernel.Goto{Chain: w.Chain("dead", w.dead)}
		for _, f := range traffic.Families() {
			rules = append(rules,
				traffic.Rule("the server is dead", w.in("dead"+f.Digit, served(), f.Dest, kernel.DestPort), dead),
				traffic.Rule("the server is dead", w.in("dead_host"+f.Digit, served(), f.Dest), dead))
		}
	}
	if w.has.octets {
		rules = append(rules, w.at("octets to the server", "octets_in", false)...)
	}
	rules = append(rules, w.rated("_total", "_in", false)...)
	if w.has.tosServer {
		rules = append(rules, w.tosToServer()...)
	}
	return rules
}

// toClient is for packets of the reply direction.
func (w *writer) toClient() (rules []kernel.Rule) {
	if w.has.refusals {
		rules = append(rules, traffic.Rule("the server resets", kernel.Is{Of: kernel.Masked{Of: kernel.TCPFlags, Mask: []byte{rst}}, To: []byte{rst}}, kernel.Jump{Chain: w.Chain("refuses", func() []kernel.Rule {
			return w.at("resets of the server", "resets", true)
		})}))
	}
	if w.has.octets {
		rules = append(rules, w.at("octets of the server", "octets_out", true)...)
	}
	rules = append(rules, w.rated("_total", "_out", true)...)
	if w.has.tosClient {
		var list []chosen
		for _, s := range w.servers {
			if t := s.Serve.TOS; t != nil && !slices.ContainsFunc(list, func(c chosen) bool { return c.number == uint32(*t) }) {
				list = append(list, chosen{uint32(*t), kernel.Goto{Chain: w.tos(*t)}})
			}
		}
		rules = append(rules, w.choice("type of service to the client", "tos", "toses", served(), list)...)
	}
	return rules
}

// rated bounds the bandwidth of virtual servers and of servers.
func (w *writer) rated(total, direction string, source bool) (rules []kernel.Rule) {
	if !w.has.vsRates && !w.has.rates {
		return nil
	}
	shed := kernel.Goto{Chain: w.Chain("shed", func() []kernel.Rule {
		return []kernel.Rule{traffic.Rule("over a limit of bandwidth", w.in("shed", served())), traffic.Rule("", kernel.Drop{})}
	})}
	for _, suffix := range []string{total, direction} {
		if w.has.vsRates {
			rules = append(rules, traffic.Rule("bandwidth of the virtual server", w.in("vs"+suffix, served()), shed))
		}
		if w.has.rates {
			rules = append(rules, w.at("bandwidth of the server", "rate"+suffix, source, shed)...)
		}
	}
	return rules
}

// dead ends the sessions of servers that failed (onFailure: reset; T38). Clients
// of UDP and ICMP hear of it only if slb.unreachables says so (FAQ 1.1.16).
func (w *writer) dead() []kernel.Rule {
	rules := []kernel.Rule{traffic.Rule("its sessions are reset", traffic.OfProtocol(tcp), w.Count("reset"), kernel.Reject{With: kernel.TCPReset})}
	if w.conf.Unreachables {
		return append(rules, traffic.Rule("its clients are told", w.Count("reset"), kernel.Reject{With: kernel.PortUnreachable}))
	}
	return append(rules, traffic.Rule("its clients are not told", w.Count("reset"), kernel.Drop{}))
}

// tosToServer writes what the action of a connection said (FAQ 1.1.5): its label
// has it.
func (w *writer) tosToServer() []kernel.Rule {
	var list []config.TOS
	for _, q := range w.policies {
		for _, r := range q.Rules {
			if r.Action != nil && r.Action.TOS != nil && !slices.Contains(list, *r.Action.TOS) {
				list = append(list, *r.Action.TOS)
			}
		}
	}
	slices.SortFunc(list, cmp.Compare)
	return []kernel.Rule{traffic.Rule("type of service to the server", traffic.Labelled(), kernel.Goto{Chain: w.LabelledServices("services", list)})}
}

// tos writes a type of service.
func (w *writer) tos(t config.TOS) string {
	return w.Chain("tos_"+t.String(), func() []kernel.Rule { return traffic.TypeOfService(t) })
}
