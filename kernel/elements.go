package kernel

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"sync"
)

// Elements are the elements of one set, changed by their owner while they
// stand in wishes: whoever changes them says so to [Kernel.Changed], and
// only what changed is written. Their methods may be called from any goroutine.
type Elements struct {
	mu    sync.Mutex
	all   map[string]Element
	dirty map[string]struct{} // keys changed since they were taken last
}

// NewElements gives a set's elements.
func NewElements(list ...Element) *Elements {
	e := &Elements{all: make(map[string]Element, len(list)), dirty: map[string]struct{}{}}
	e.Put(list...)
	return e
}

// Put adds elements, or gives keys that are there other data. Elements must
// not be changed afterwards.
func (e *Elements) Put(list ...Element) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, el := range list {
		e.put(el)
	}
}

func (e *Elements) put(el Element) {
	el = el.normal()
	key := el.id()
	if old, ok := e.all[key]; ok && old.same(el) {
		return
	}
	e.all[key] = el
	e.dirty[key] = struct{}{}
}

// Delete removes elements by Key, and End of an interval.
func (e *Elements) Delete(list ...Element) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, el := range list {
		e.remove(el.id())
	}
}

func (e *Elements) remove(key string) {
	if _, ok := e.all[key]; ok {
		delete(e.all, key)
		e.dirty[key] = struct{}{}
	}
}

// Replace makes the elements these and no others. What stays as it was costs
// the kernel nothing.
func (e *Elements) Replace(list []Element) {
	e.mu.Lock()
	defer e.mu.Unlock()
	keep := make(map[string]struct{}, len(list))
	for _, el := range list {
		keep[el.id()] = struct{}{}
		e.put(el)
	}
	for key := range e.all {
		if _, ok := keep[key]; !ok {
			e.remove(key)
		}
	}
}

// Clone gives elements that go their own way from now on.
func (e *Elements) Clone() *Elements {
	return &Elements{all: e.snapshot(), dirty: map[string]struct{}{}}
}

// Len is how many there are; 0 of nil.
func (e *Elements) Len() int {
	if e == nil {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.all)
}

// Get gives the element of a key that is no range.
func (e *Elements) Get(key []byte) (Element, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	el, ok := e.all[string(key)]
	return el, ok
}

// id is what tells elements of a set apart.
func (el Element) id() string {
	if el = el.normal(); el.End == nil {
		return string(el.Key)
	}
	return string(el.Key) + "\x00-" + string(el.End)
}

// take gives the keys that changed since it was called last.
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
func (e *Elements) find(id string) (Element, bool) {
	if e == nil {
		return Element{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	el, ok := e.all[id]
	return el, ok
}

// snapshot gives all elements with their ids.
func (e *Elements) snapshot() map[string]Element {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.all)
}

// same tells whether two elements with one id are alike.
func (el Element) same(o Element) bool {
	return bytes.Equal(el.Data, o.Data) && el.Verdict == o.Verdict && el.Timeout == o.Timeout && el.Over == o.Over && el.Rate.same(o.Rate)
}

// same tells whether two rates are alike as the kernel keeps them.
func (r *Rate) same(o *Rate) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.PerSecond == o.PerSecond && r.burst() == o.burst() && r.Octets == o.Octets
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
