package kernel

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"
)

// plan is what has to be done to make a table as wished: the messages of one
// transaction, in an order in which each finds what it needs.
//
//	table; old rules, old elements, old sets, old chains, old objects;
//	new sets, objects, chains; new elements; new rules
type plan struct {
	steps  [phases][]*op
	commit []func() // note what was done
	cut    bool     // it is not all: make another after this
}

const (
	theTable = iota
	oldRules
	oldElements
	oldSets // before chains: verdicts in them lead there
	oldChains
	oldObjects
	newSets
	newObjects
	newChains
	newElements
	newRules
	phases
)

// ops gives the messages in their order.
func (p *plan) ops() []*op { return slices.Concat(p.steps[:]...) }

func (p *plan) add(phase int, o *op) { p.steps[phase] = append(p.steps[phase], o) }

func (p *plan) after(f func()) { p.commit = append(p.commit, f) }

// planner makes plans for one table.
type planner struct {
	table   string
	want    *tableWish
	have    *tableHave
	pending map[string]*pending
	left    map[object]string // what the kernel refused, and is left out
	single  map[string]bool   // sets whose elements go one in a message, to find a bad one
	room    int               // octets of elements in one transaction, about; 0: as many as is good

	// carry gives the elements that packets have put into a set of old.
	carry func(old *setHave, set *Set) []Element
	bad   func(problem string) // told what of the elements makes no sense

	// counts fills in what elements of a counted set, which are there, have counted.
	counts func(set *Set, list []*Element)

	p     *plan
	waits map[string]bool // sets of which what is to be removed waits until rules are as wished
	last  func()          // removes some of it
}

// makePlan compares. With onlyElements chains, rules, sets and objects stay as
// they are.
func (pl *planner) makePlan(onlyElements bool) *plan {
	pl.room = cmp.Or(pl.room, transactionSize)
	for {
		pl.p, pl.waits, pl.last = &plan{}, nil, nil
		pl.compareAll(onlyElements)
		if len(pl.p.ops()) > 0 || !pl.p.cut {
			return pl.p
		}
		for _, f := range pl.p.commit { // nothing of this part can be sent
			f()
		}
	}
}

func (pl *planner) compareAll(onlyElements bool) {
	if pl.want == nil {
		pl.removeTable()
		return
	}
	if pl.fill(onlyElements) {
		return
	}
	replaced := map[string]bool{}
	if !onlyElements {
		pl.addTable()
		pl.objects(replaced)
		pl.sets(replaced)
		pl.chains(replaced, func(*chainWish) bool { return true })
	}
	for _, name := range pl.want.setNames() {
		set, have, what := pl.want.sets[name], pl.have.sets[name], pl.pending[name]
		if have != nil && what != nil && !replaced[name] && have.sum == set.sum() {
			pl.compare(set, have, what)
			pl.changeElements(set, have, what, pl.now(set, what))
		}
	}
	if len(pl.waits) > 0 && len(pl.p.ops()) == 0 {
		pl.last()
	}
}

func (pl *planner) removeTable() {
	if pl.have.there {
		pl.p.add(theTable, &op{kind: unix.NFT_MSG_DELTABLE, body: wireTable(pl.table), of: object{kind: "table"}, tell: tell("delete table %s", pl.table)})
		pl.p.after(func() { *pl.have = *noTable() })
	}
}

func (pl *planner) addTable() {
	if !pl.have.there {
		pl.p.add(theTable, &op{kind: unix.NFT_MSG_NEWTABLE, flags: unix.NLM_F_CREATE, body: wireTable(pl.table), of: object{kind: "table"}, tell: tell("add table %s", pl.table)})
		pl.p.after(func() { pl.have.there = true })
	}
}

func (pl *planner) leftOut(of object) bool { _, out := pl.left[of]; return out }

func (pl *planner) objects(replaced map[string]bool) {
	keep := map[string]bool{}
	for _, o := range pl.want.objects {
		ref, of := o.ref(), object{kind: "object", name: o.ref()}
		if pl.leftOut(of) {
			continue
		}
		sum, there := pl.have.objects[ref]
		keep[ref] = there && sum == o.sum
		if keep[ref] {
			continue
		}
		replaced[ref] = there
		pl.p.add(newObjects, &op{kind: unix.NFT_MSG_NEWOBJ, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, body: wireObject(pl.table, o), of: of, tell: func() string { return "add " + o.text() }})
		pl.p.after(func() { pl.have.objects[ref], pl.have.kinds[ref] = o.sum, o })
	}
	for ref := range pl.have.objects {
		if keep[ref] {
			continue
		}
		o := pl.have.kinds[ref]
		w := header(pl.table, unix.NFTA_OBJ_TABLE)
		w.text(unix.NFTA_OBJ_NAME, o.name)
		w.u32(unix.NFTA_OBJ_TYPE, o.kind)
		pl.p.add(oldObjects, &op{kind: unix.NFT_MSG_DELOBJ, body: w.b, of: object{kind: "object", name: ref}, tell: func() string { return "delete " + o.text() }})
		if !replaced[ref] {
			pl.p.after(func() { delete(pl.have.objects, ref); delete(pl.have.kinds, ref) })
		}
	}
}

func (pl *planner) sets(replaced map[string]bool) {
	for name, have := range pl.have.sets {
		set := pl.want.sets[name]
		if set != nil && set.sum() == have.sum && !pl.leftOut(object{kind: "set", name: name}) {
			continue
		}
		replaced[name] = true
		pl.p.add(oldSets, &op{kind: unix.NFT_MSG_DELSET, body: wireName(pl.table, unix.NFTA_SET_TABLE, unix.NFTA_SET_NAME, name), of: object{kind: "set", name: name}, tell: tell("delete set %s", name)})
		if set == nil {
			pl.p.after(func() { delete(pl.have.sets, name) })
		}
	}
	for _, name := range pl.want.setNames() {
		set, of := pl.want.sets[name], object{kind: "set", name: name}
		old := pl.have.sets[name]
		if old != nil && !replaced[name] || pl.leftOut(of) {
			continue
		}
		made := pl.newSet(set)
		if old != nil && old.set.Dynamic && set.Dynamic {
			pl.carryOver(old, set)
		}
		what := &pending{all: true}
		pl.compare(set, made, what)
		pl.changeElements(set, made, what, what.work.amount())
	}
}

// newSet makes a set.
func (pl *planner) newSet(set *Set) *setHave {
	of, made := object{kind: "set", name: set.Name}, newSetHave(set)
	pl.p.add(newSets, &op{kind: unix.NFT_MSG_NEWSET, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, body: wireSet(pl.table, set), of: of, tell: func() string { return "add " + set.head() }})
	pl.p.after(func() { pl.have.sets[set.Name] = made })
	return made
}

// carryOver puts what packets wrote into a set into the one that takes its place.
func (pl *planner) carryOver(old *setHave, set *Set) {
	list := pl.carry(old, set)
	if room := set.Size - set.Elements.Len(); set.Size > 0 && len(list) > room {
		list = list[:max(room, 0)]
	}
	list = slices.DeleteFunc(list, func(el Element) bool { _, ours := set.Elements.find(el.id()); return ours })
	pl.elementOps(newElements, unix.NFT_MSG_NEWSETELEM, set, list)
}

// chains makes chains and their rules as wished, those that some says.
func (pl *planner) chains(replaced map[string]bool, some func(*chainWish) bool) {
	wanted := map[string]*chainWish{}
	for _, c := range pl.want.chains {
		if some(c) && !pl.leftOut(object{kind: "chain", name: c.name}) {
			wanted[c.name] = c
		}
	}
	for name, have := range pl.have.chains {
		c := wanted[name]
		if c != nil && c.sum() == have.sum {
			continue
		}
		if len(have.rules) > 0 {
			pl.p.add(oldRules, &op{kind: unix.NFT_MSG_DELRULE, body: wireName(pl.table, unix.NFTA_RULE_TABLE, unix.NFTA_RULE_CHAIN, name), of: object{kind: "chain", name: name}, tell: tell("delete the rules of chain %s", name)})
		}
		pl.p.add(oldChains, &op{kind: unix.NFT_MSG_DELCHAIN, body: wireName(pl.table, unix.NFTA_CHAIN_TABLE, unix.NFTA_CHAIN_NAME, name), of: object{kind: "chain", name: name}, tell: tell("delete chain %s", name)})
		if c == nil {
			pl.p.after(func() { delete(pl.have.chains, name) })
		}
	}
	for _, c := range pl.want.chains {
		if wanted[c.name] == nil {
			continue
		}
		have := pl.have.chains[c.name]
		if have == nil || have.sum != c.sum() {
			have = &chainHave{sum: c.sum()}
			pl.p.add(newChains, &op{kind: unix.NFT_MSG_NEWCHAIN, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL, body: wireChain(pl.table, c.name, c.hook), of: object{kind: "chain", name: c.name}, tell: func() string { return "add " + c.head() }})
			pl.p.after(func() { pl.have.chains[c.name] = have })
		}
		pl.rules(c, have, replaced)
	}
}

// rules changes a chain: what stays is not touched.
func (pl *planner) rules(c *chainWish, have *chainHave, replaced map[string]bool) {
	want := slices.DeleteFunc(slices.Clone(c.rules), func(r *ruleWish) bool { return pl.leftOut(r.object(c.name)) })
	stays := func(w *ruleWish, h ruleHave) bool {
		return w.sum == h.sum && h.handle != 0 && !slices.ContainsFunc(w.refs, func(ref string) bool { return replaced[ref] })
	}
	kept := match(want, have.rules, stays)
	made := make([]ruleHave, len(want))
	used := make([]bool, len(have.rules))
	next := uint64(0)
	var added []*op
	for i := len(want) - 1; i >= 0; i-- {
		r := want[i]
		if at := kept[i]; at >= 0 {
			made[i], used[at] = have.rules[at], true
			next = made[i].handle
			continue
		}
		made[i].sum = r.sum
		flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_ECHO)
		if next == 0 {
			flags |= unix.NLM_F_APPEND
		}
		added = append(added, &op{kind: unix.NFT_MSG_NEWRULE, flags: flags, body: wireRule(pl.table, c.name, r, next), of: r.object(c.name),
			tell: func() string { return "add to chain " + c.name + ": " + r.text(pl.want) },
			done: func(handle uint64) { made[i].handle = handle }})
	}
	slices.Reverse(added)
	pl.p.steps[newRules] = append(pl.p.steps[newRules], added...)
	for i, old := range have.rules {
		if !used[i] {
			pl.p.add(oldRules, &op{kind: unix.NFT_MSG_DELRULE, body: wireOldRule(pl.table, c.name, old.handle), of: object{"rule", c.name, old.sum}, tell: tell("delete from chain %s the rule with handle %d", c.name, old.handle)})
		}
	}
	if len(added) > 0 || slices.Contains(used, false) {
		pl.p.after(func() { have.rules = made })
	}
}

func (r *ruleWish) object(chain string) object { return object{"rule", chain, r.sum} }

// changeElements does so much of the work on a set.
func (pl *planner) changeElements(set *Set, have *setHave, what *pending, some amount) {
	if some.none() {
		return
	}
	var gone, came []Element
	var put []packed
	ids := what.work.some(some)
	came, put = slices.Grow(came, some.fresh+some.changed), slices.Grow(put, some.fresh+some.changed)
	for _, id := range ids {
		want, is := set.Elements.find(id)
		old, was := have.elements.get(id)
		if is {
			el := want.element()
			if is = pl.takes(set, what, id, el); is && was && old == want {
				continue
			}
			if is {
				came, put = append(came, el), append(put, want)
			}
		}
		if was {
			gone = append(gone, old.element())
		}
	}
	pl.keepCounts(set, gone, came)
	pl.elementOps(oldElements, unix.NFT_MSG_DELSETELEM, set, gone)
	pl.elementOps(newElements, unix.NFT_MSG_NEWSETELEM, set, came)
	pl.p.after(func() {
		what.work.did(some)
		for _, el := range gone {
			have.elements.remove(el.id())
		}
		for _, p := range put {
			have.elements.add(p)
		}
	})
}

// takes says whether an element is to be in the kernel: it makes sense, and was
// not refused.
func (pl *planner) takes(set *Set, what *pending, id string, el Element) bool {
	if _, bad := what.senseless[id]; bad || len(pl.left) > 0 && pl.leftOut(object{kind: "element", name: set.Name + "\x00" + id}) {
		return false
	}
	return pl.fits(set, el)
}

// elementOps writes the messages for elements, in the order of their keys: where
// the kernel wants it so, and where they are few enough that people read them.
func (pl *planner) elementOps(phase int, kind uint16, set *Set, list []Element) {
	if set.Interval || len(list) <= elementsPerMessage {
		list = inOrder(list, keysOf)
	}
	most, verb := elementsPerMessage, "add"
	if pl.single[set.Name] {
		most = 1
	}
	if kind == unix.NFT_MSG_DELSETELEM {
		verb = "delete"
	}
	for part := range slices.Chunk(list, most) {
		of := object{kind: "elements", name: set.Name}
		if len(part) == 1 {
			of = object{kind: "element", name: set.Name + "\x00" + part[0].id()}
		}
		flags := uint16(0)
		if phase == newElements {
			flags = unix.NLM_F_CREATE
		}
		pl.p.add(phase, &op{kind: kind, flags: flags, body: wireElements(pl.table, set, part, phase == oldElements), of: of, list: part, tell: func() string { return verb + " " + set.elementsText(part) }})
	}
}
