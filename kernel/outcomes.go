package kernel

import "fmt"

// Outcome is one way that a packet may go, where draws decide.
type Outcome struct {
	Share float64 // of all draws, above 0, at most 1
	Trace *Trace
}

// maxWalks bounds the work of Outcomes.
const maxWalks = 1 << 12

// Outcomes gives all ways that a packet may go through a hook, whatever the
// draws (Turn, Lot), each with its share; draws that lead to the same element
// of a map are one way. The first one is that of the lowest draws. It errs as
// Walk does, and if there are too many.
func (w *World) Outcomes(point string, p Packet) ([]Outcome, error) {
	remember := w.Remember
	w.Remember, w.outcomes = false, &outcomes{}
	defer func() { w.Remember, w.outcomes = remember, nil }()
	var list []Outcome
	for more := true; more; more = w.outcomes.next() {
		if len(list) == maxWalks {
			return nil, fmt.Errorf("a packet from %s to %s may go more than %d ways", p.Source, p.Dest, maxWalks)
		}
		w.outcomes.at = 0
		t, err := w.Walk(point, p)
		if err != nil {
			return nil, err
		}
		list = append(list, Outcome{w.outcomes.share(), t})
	}
	return list, nil
}

// outcomes goes through all draws, depth first: each walk repeats the choices
// of the one before but for the last one that has an alternative left.
type outcomes struct {
	choices []choice
	at      int // the choice that comes next in this walk
}

// choice is one draw.
type choice struct {
	of      uint32
	classes []class
	at      int
}

// class is numbers that come to the same.
type class struct {
	first uint32
	count uint32
}

func (o *outcomes) draw(of uint32, same func(n uint32) string) (uint32, error) {
	if o.at == len(o.choices) {
		if of > maxWalks {
			return 0, fmt.Errorf("one of %d numbers is drawn: too many to follow them all", of)
		}
		o.choices = append(o.choices, choice{of: of, classes: classes(of, same)})
	}
	c := &o.choices[o.at]
	o.at++
	return c.classes[c.at].first, nil
}

func classes(of uint32, same func(n uint32) string) (list []class) {
	known := map[string]int{}
	for n := range of {
		if same == nil {
			list = append(list, class{n, 1})
			continue
		}
		id := same(n)
		i, ok := known[id]
		if !ok {
			i = len(list)
			known[id] = i
			list = append(list, class{first: n})
		}
		list[i].count++
	}
	return list
}

func (o *outcomes) share() float64 {
	share := 1.0
	for _, c := range o.choices {
		share *= float64(c.classes[c.at].count) / float64(c.of)
	}
	return share
}

// next goes to the next alternative of the last draw that has one.
func (o *outcomes) next() bool {
	for len(o.choices) > 0 {
		c := &o.choices[len(o.choices)-1]
		if c.at++; c.at < len(c.classes) {
			return true
		}
		o.choices = o.choices[:len(o.choices)-1]
	}
	return false
}
