package kernel

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tablePrefix begins the names of all our tables. Others are never touched.
const tablePrefix = "portolan_"

// tableWish is a wished table as nftables wants it.
type tableWish struct {
	table    *Table
	name     string
	chains   []*chainWish
	sets     map[string]*Set
	objects  []objectWish
	problems []string // what of the wishes makes no sense, and is left out
}

type chainWish struct {
	name  string
	hook  *Hook
	rules []*ruleWish
}

type ruleWish struct {
	tell  string
	exprs []byte
	refs  []string // sets, and objects by objectRef
	sum   uint64
	steps []Step // lowered
}

type objectWish struct {
	kind   uint32
	name   string
	helper Helper
	sum    uint64
}

func (o objectWish) ref() string { return objectRef(o.kind, o.name) }

// wishOf compiles a table. It needs no privileges.
func wishOf(t *Table) *tableWish {
	w := &tableWish{table: t, name: t.ID(), sets: map[string]*Set{}}
	counting := countingSets(t)
	for _, set := range t.Sets {
		s := &set
		s.counts = counting[s.Name]
		if err := s.check(); err != nil {
			w.problem("%v", err)
		} else if w.sets[s.Name] != nil {
			w.problem("set %s: there are two", s.Name)
		} else {
			w.sets[s.Name] = s
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(t.Counters))) {
		w.objects = append(w.objects, objectWish{kind: unix.NFT_OBJECT_COUNTER, name: name, sum: checksum([]byte("counter"))})
	}
	for _, h := range t.Helpers {
		sum := checksum([]byte("helper"), []byte(h.Kind), []byte{h.Protocol})
		w.objects = append(w.objects, objectWish{kind: unix.NFT_OBJECT_CT_HELPER, name: h.Name, helper: h, sum: sum})
	}
	for _, c := range t.Chains {
		w.chain(c)
	}
	return w
}

// countingSets gives the sets by whose keys rules count connections.
func countingSets(t *Table) map[string]bool {
	names := map[string]bool{}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			for _, s := range r.Do {
				if change, ok := s.(Change); ok && change.Over > 0 {
					names[change.Set] = true
				}
			}
		}
	}
	return names
}

func (w *tableWish) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *tableWish) chain(c Chain) {
	if err := c.Hook.check(); err != nil {
		w.problem("chain %s: %v", c.Name, err)
		return
	}
	if slices.ContainsFunc(w.chains, func(o *chainWish) bool { return o.name == c.Name }) {
		w.problem("chain %s: there are two", c.Name)
		return
	}
	made := &chainWish{name: c.Name, hook: c.Hook}
	for i, r := range c.Rules {
		rule, err := w.rule(r)
		if err == nil {
			err = c.checkHook(rule.steps)
		}
		if err != nil {
			w.problem("chain %s rule %d (%s): %v", c.Name, i+1, r.Tell, err)
			continue
		}
		made.rules = append(made.rules, rule)
	}
	w.chains = append(w.chains, made)
}

func (w *tableWish) rule(r Rule) (*ruleWish, error) {
	if err := w.table.Family.checkSteps(r.Do); err != nil {
		return nil, err
	}
	steps, err := lowerIn(w.table.Family, r.Ported, r.Do)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(steps, func(s Step) bool { in, ok := s.(In); return ok && in.Set == withPorts }) {
		w.wantPorts()
	}
	exprs, refs, err := encode(steps, w.sets)
	if err != nil {
		return nil, err
	}
	return &ruleWish{tell: r.Tell, exprs: exprs, refs: refs, sum: checksum([]byte(r.Tell), exprs), steps: steps}, nil
}

// wantPorts puts the set of protocols that have ports into the table.
func (w *tableWish) wantPorts() {
	if w.sets[withPorts] != nil {
		return
	}
	e := NewElements()
	for _, p := range protocolsWithPorts {
		e.Put(Element{Key: []byte{p}})
	}
	w.sets[withPorts] = &Set{Name: withPorts, Key: []Type{TypeProto}, Elements: e}
}

// setNames gives the names of the sets: as the table has them, ours last.
func (w *tableWish) setNames() (names []string) {
	for _, s := range w.table.Sets {
		if w.sets[s.Name] != nil && !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	if w.sets[withPorts] != nil && !slices.Contains(names, withPorts) {
		names = append(names, withPorts)
	}
	return names
}

func (c *chainWish) sum() uint64 {
	if c.hook == nil {
		return 0
	}
	return hookSum(c.hook.Type, hookPoints[c.hook.Point], c.hook.Priority)
}

// hookSum is what cannot be changed of a chain that has a hook; never 0.
func hookSum(kind string, point uint32, priority int32) uint64 {
	return checksum([]byte(kind), binary.BigEndian.AppendUint32(nil, point), binary.BigEndian.AppendUint32(nil, uint32(priority))) | 1
}

// checkName says what is wrong with the name of a table.
func checkName(id string) error {
	family, name := familyAndName(id)
	if family != familyInet && !strings.Contains(strings.TrimPrefix(name, tablePrefix), "_") {
		return fmt.Errorf("table %q: the names of our tables of one family are %sOWNER_NAME", id, tablePrefix)
	}
	if !strings.HasPrefix(name, tablePrefix) || len(name) >= unix.NFT_TABLE_MAXNAMELEN {
		return fmt.Errorf("table %q: the names of our tables begin with %s", name, tablePrefix)
	}
	return nil
}
