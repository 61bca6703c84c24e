package l4

import (
	"time"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// Stick is the map of a persistence: which client has which server, written by
// packets. The number of a server tells the farm too ([Plan.ServerOf]).
type Stick struct {
	Persistence string
	Set         string // of [Table]
	Family      traffic.Family
	Similar     traffic.Similar // reads keys; the scope is a virtual server's mark ([Plan.VirtualServerOf])
	Shared      bool            // the scope is a farm instead ([Plan.FarmOf])
}

// Sticks gives all maps of persistence that rules use.
func (p *Plan) Sticks() (list []Stick) {
	for _, k := range p.keeps {
		for _, f := range traffic.Families() {
			list = append(list, Stick{k.Name, k.set(f), f, k.similar(served()), k.Shared})
		}
	}
	return list
}

func (k *keep) counter() string { return "persistence/" + traffic.Word(k.Name) }

func (k *keep) set(f traffic.Family) string { return "stick" + f.Digit + "_" + traffic.Word(k.Name) }

// similar is what makes connections similar within a scope: one virtual server,
// or a farm.
func (k *keep) similar(scope kernel.Value) traffic.Similar {
	by := traffic.SimilarBy(k.Persistence)
	by.Scope = scope
	return by
}

// stick writes the map of a family, to the server.
func (w *writer) stick(k *keep, f traffic.Family) string {
	return w.Entries(k.set(f), k.Persistence, k.similar(served()), f, kernel.TypeNumber)
}

// before and after give the key while a target is known, and while a server is.
func (w *writer) before(k *keep, f traffic.Family) kernel.Value {
	if !k.Shared {
		return k.similar(served()).Key(f)
	}
	return k.similar(scope(w.lookup("farm", now))).Key(f)
}

// scope is a farm as it stands in keys, however its slots are drawn.
func scope(farm kernel.Value) kernel.Value {
	return kernel.Masked{Of: farm, Mask: kernel.Number(^drawBits)}
}

func (w *writer) after(k *keep, f traffic.Family) kernel.Value {
	if !k.Shared {
		return k.similar(served()).Key(f)
	}
	return k.similar(scope(w.lookup("home", kernel.Masked{Of: now, Mask: kernel.Number(^isMoved)}))).Key(f)
}

// learn makes an entry of the server that is known, or renews the one there is,
// which keeps its server (the kernel leaves the data of a key that it has): a stale
// one is removed before. It is alone in its rule, for a full map ends that.
func (w *writer) learn(k *keep, tell string) (rules []kernel.Rule) {
	for _, f := range traffic.Families() {
		rules = append(rules, traffic.Rule(tell, kernel.Change{How: kernel.Put, Set: w.stick(k, f), Key: w.after(k, f), Data: now, Timeout: time.Duration(k.Timeout)}))
	}
	return rules
}

// keep writes the chain of targets with a persistence: who has a server keeps
// it while it is one of those that he may bypass limits for (FAQ 1.2.8, C2), else
// the entry is forgotten and another server learnt. An entry is looked at once more
// where it is forgotten: of several first connections at once one may have made it
// since, and all of them keep that. Limits of the virtual server
// are passed only by an entry that there is (T23).
func (w *writer) keep(k *keep) string {
	name := "keep_" + traffic.Word(k.Name)
	return w.ChainFor(flow.Persistence, k.Name, name, func() (rules []kernel.Rule) {
		if !k.OverrideLimit {
			rules = w.bounded()
		}
		may, tell := "avail", "it takes new connections"
		switch {
		case k.OverrideLimit:
			may, tell = "alive", "it lives: its limits are overridden"
		case k.OverrideBusy:
			may, tell = "loose", "it takes new connections, or is but busy"
		}
		for _, f := range traffic.Families() {
			has := kernel.Lookup{Key: w.before(k, f), Map: w.stick(k, f)}
			rules = append(rules, traffic.Rule("persistence "+k.Name+": the client has a server, and "+tell,
				w.in(may, w.lookup("farm", now), has), become(has), kernel.Goto{Chain: w.kept(k)}))
		}
		for _, f := range traffic.Families() {
			has := kernel.Lookup{Key: w.before(k, f), Map: w.stick(k, f)}
			rules = append(rules, traffic.Rule("persistence "+k.Name+" forgets the server", notIn(w.in(may, w.lookup("farm", now), has)),
				kernel.Change{How: kernel.Remove, Set: w.stick(k, f), Key: w.before(k, f), Data: now}))
		}
		if k.OverrideLimit {
			rules = append(rules, w.bounded()...)
		}
		rules = append(rules, traffic.Rule("a server of the farm", kernel.Jump{Chain: w.draw()}))
		rules = append(rules, w.learn(k, "persistence "+k.Name+" learns the server")...)
		for _, f := range traffic.Families() {
			rules = append(rules, traffic.Rule("the server that persistence has: of the first of several at once", become(kernel.Lookup{Key: w.after(k, f), Map: w.stick(k, f)})))
		}
		return append(rules, traffic.Rule("", kernel.Goto{Chain: w.give()}))
	})
}

// kept writes the chain of a client that keeps its server. One whose server is at
// a limit goes to the next, and is learnt there, unless limits are overridden:
// then it counts there all the same.
func (w *writer) kept(k *keep) string {
	return w.ChainFor(flow.Persistence, k.Name, "kept_"+traffic.Word(k.Name), func() (rules []kernel.Rule) {
		placed := []kernel.Step{w.Count(k.counter()), kernel.SetCtMark{Mask: kernel.Placed, Bits: kernel.Placed}}
		switch {
		case k.OverrideLimit:
			if w.has.vsFull {
				rules = append(rules, traffic.Rule("the virtual server counts it all the same", w.in("vs_full", served())))
			}
			if w.has.full {
				rules = append(rules, w.room().Force(w.Builder, now)...)
			}
			rules = append(rules, traffic.Rule(tellPlaced, placed...))
		case w.has.tries():
			rules = append(rules, traffic.Rule("has the server room", kernel.Jump{Chain: w.test()}),
				traffic.Rule(tellPlaced, append([]kernel.Step{traffic.NoBit(now, isMoved)}, placed...)...))
			for _, f := range traffic.Families() {
				rules = append(rules, traffic.Rule("persistence "+k.Name+" forgets the server", traffic.AnyBit(now, isMoved),
					kernel.Change{How: kernel.Remove, Set: w.stick(k, f), Key: w.after(k, f), Data: now}))
			}
			rules = append(rules, traffic.Rule("", kernel.Jump{Chain: w.tries()}))
		default:
			rules = append(rules, traffic.Rule(tellPlaced, placed...))
		}
		rules = append(rules, w.learn(k, "persistence "+k.Name+" renews the entry")...)
		return append(rules, traffic.Rule("", kernel.Goto{Chain: w.give()}))
	})
}
