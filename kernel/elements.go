package kernel

import (
	"encoding/binary"
	"net/netip"
	"sync"
)

// Elements are the elements of one set, changed by their owner while they
// stand in wishes: whoever changes them says so to [Kernel.Changed], and
// only what changed is written. Their methods may be called from any goroutine.
type Elements struct {
	mu    sync.Mutex
	all   *store
	dirty map[string]struct{} // ids changed since they were taken last
}

// NewElements gives a set's elements.
func NewElements(list ...Element) *Elements {
	e := &Elements{all: newStore(len(list)), dirty: map[string]struct{}{}}
	e.Put(list...)
	return e
}

// Put adds elements, or gives keys that are there other data. What is there
// already as it is costs nothing, and its counter goes on.
func (e *Elements) Put(list ...Element) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, el := range list {
		e.put(pack(el))
	}
}

func (e *Elements) put(p packed) {
	if !e.all.has(p) {
		e.all.put(p)
		e.dirty[p.id] = struct{}{}
	}
}

// set has an element there, or not.
func (e *Elements) set(p packed, there bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if there {
		e.put(p)
	} else {
		e.remove(p.id)
	}
}

// Delete removes elements by Key, and End of an interval.
func (e *Elements) Delete(list ...Element) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, el := range list {
		e.remove(el.id())
	}
}

func (e *Elements) remove(id string) {
	if _, ok := e.all.get(id); ok {
		e.all.remove(id)
		e.dirty[id] = struct{}{}
	}
}

// Replace makes the elements these and no others. What stays as it was costs
// the kernel nothing.
func (e *Elements) Replace(list []Element) {
	e.mu.Lock()
	defer e.mu.Unlock()
	keep := make(map[string]struct{}, len(list))
	for _, el := range list {
		p := pack(el)
		keep[p.id] = struct{}{}
		e.put(p)
	}
	for p := range e.all.each() {
		if _, ok := keep[p.id]; !ok {
			e.remove(p.id)
		}
	}
}

// Clone gives elements that go their own way from now on.
func (e *Elements) Clone() *Elements {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &Elements{all: e.all.clone(), dirty: map[string]struct{}{}}
}

// Len is how many there are; 0 of nil.
func (e *Elements) Len() int {
	if e == nil {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all.len()
}

// Get gives the element of a key that is no range.
func (e *Elements) Get(key []byte) (Element, bool) {
	p, ok := e.find(string(key))
	if !ok {
		return Element{}, false
	}
	return p.element(), true
}

// id is what tells elements of a set apart.
func (el Element) id() string {
	if el = el.normal(); el.End == nil {
		return string(el.Key)
	}
	return string(el.Key) + rangeMark + string(el.End)
}

// take gives the ids that changed since it was called last.
func (e *Elements) take() map[string]struct{} {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	dirty := e.dirty
	e.dirty = map[string]struct{}{}
	return dirty
}

// find gives the element with an id.
func (e *Elements) find(id string) (packed, bool) {
	if e == nil {
		return packed{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.all.get(id)
}

// list gives all elements in no order.
func (e *Elements) list() (all []Element) {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	all = make([]Element, 0, e.all.len())
	for p := range e.all.each() {
		all = append(all, p.element())
	}
	return all
}

// differ gives the elements that are not the same here and there, in no order.
func (e *Elements) differ(have *store) (w work) {
	wish := newStore(0)
	if e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		wish = e.all
	}
	if have.len() == 0 {
		w.fresh = make([]string, 0, wish.len())
	}
	for p := range wish.each() {
		if have.has(p) {
			continue
		}
		if _, there := have.all[p.id]; there {
			w.changed = append(w.changed, p.id)
		} else {
			w.fresh = append(w.fresh, p.id)
		}
	}
	for id := range have.all {
		if _, is := wish.all[id]; !is {
			w.gone = append(w.gone, id)
		}
	}
	return w
}

// differAt is the same for some ids.
func (e *Elements) differAt(have *store, ids map[string]struct{}) (w work) {
	for id := range ids {
		want, is := e.find(id)
		old, was := have.get(id)
		switch {
		case is && was && want != old:
			w.changed = append(w.changed, id)
		case is && !was:
			w.fresh = append(w.fresh, id)
		case was && !is:
			w.gone = append(w.gone, id)
		}
	}
	return w
}

// rateBurst is the burst of packets that the kernel takes if none is told.
const rateBurst = 5

func (r *Rate) burst() uint32 {
	if r.Burst == 0 && !r.Octets {
		return rateBurst
	}
	return r.Burst
}

// Number gives the octets of a number or mark, in the machine's order.
func Number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// Port gives the octets of a port.
func Port(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }

// Addr gives the octets of an address, 4 or 16.
func Addr(a netip.Addr) []byte { return a.Unmap().AsSlice() }

// Name gives the octets of the name of an interface.
func Name(s string) []byte {
	b := make([]byte, 16)
	copy(b[:15], s)
	return b
}

// Key joins the parts of a key, each padded to a multiple of four octets.
func Key(parts ...[]byte) []byte {
	size := 0
	for _, p := range parts {
		size += padded(len(p))
	}
	key := make([]byte, 0, size)
	for _, p := range parts {
		key = append(key, p...)
		for len(key)%4 != 0 {
			key = append(key, 0)
		}
	}
	return key
}
