package slb

import (
	"strings"
	"sync"

	"github.com/portolan-lb/portolan/status"
)

// asked is what rows have changed for, since it was looked at last. It has a lock
// of its own, for the board's is held when it is written.
type asked struct {
	mu       sync.Mutex
	served   map[string]bool // farms that there are
	virtuals map[string]bool // and virtual servers
	changed  map[string]bool // farms to be looked at
	words    map[string]bool // virtual servers of which an operator may have said something
	holds    map[status.ID]*status.Hold
}

// want says what there is to be looked at. newest gives the rows as they stand.
func (a *asked) want(farms map[string]*farm, virtuals map[string]*virtual, newest func() *status.Table) {
	a.mu.Lock()
	defer a.mu.Unlock()
	rows := newest()
	a.holds = map[status.ID]*status.Hold{}
	for _, f := range farms {
		a.spoken(rows, f.row)
	}
	for _, v := range virtuals {
		a.spoken(rows, v.row)
	}
	a.served, a.virtuals = make(map[string]bool, len(farms)), make(map[string]bool, len(virtuals))
	for name := range farms {
		a.served[name] = true
	}
	for name := range virtuals {
		a.virtuals[name] = true
	}
	a.changed, a.words = map[string]bool{}, map[string]bool{}
}

// spoken says whether an operator's word on a row of ours is another than before:
// all else of it we wrote ourselves.
func (a *asked) spoken(rows *status.Table, id status.ID) bool {
	is, was := rows.Row(id).Hold, a.holds[id]
	if is == nil {
		delete(a.holds, id)
	} else {
		a.holds[id] = is
	}
	return is != was
}

// note takes rows that changed, and says whether anybody is to look at them. The
// names of the rows say whose they are: realServer/FARM/NAME, serverFarm/FARM and
// virtualServer/NAME. Names have no slash.
func (a *asked) note(rows *status.Table, changed []status.ID) (look bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range changed {
		switch id.Kind() {
		case status.KindRealServer, status.KindServerFarm:
			farm, _, server := strings.Cut(id.Name(), "/")
			if a.served[farm] && (server || a.spoken(rows, id)) {
				a.changed[farm], look = true, true
			}
		case status.KindVirtualServer:
			if a.virtuals[id.Name()] && a.spoken(rows, id) {
				a.words[id.Name()], look = true, true
			}
		}
	}
	return look
}

// measured has a farm looked at, for what its servers carry has changed.
func (a *asked) measured(f *farm) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed[f.Name] = true
}

// farms gives the farms to be looked at.
func (a *asked) farms(of map[string]*farm) map[*farm]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make(map[*farm]bool, len(a.changed))
	for name := range a.changed {
		if f := of[name]; f != nil {
			all[f] = true
		}
	}
	clear(a.changed)
	return all
}

// told gives the virtual servers to be looked at.
func (a *asked) told(of map[string]*virtual) map[*virtual]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make(map[*virtual]bool, len(a.words))
	for name := range a.words {
		if v := of[name]; v != nil {
			all[v] = true
		}
	}
	clear(a.words)
	return all
}
