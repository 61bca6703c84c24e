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
}

func (a *asked) want(farms map[string]*farm, virtuals map[string]*virtual) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.served, a.virtuals = make(map[string]bool, len(farms)), make(map[string]bool, len(virtuals))
	for name := range farms {
		a.served[name] = true
	}
	for name := range virtuals {
		a.virtuals[name] = true
	}
	a.changed, a.words = map[string]bool{}, map[string]bool{}
}

// note takes rows that changed, and says whether anybody is to look at them. The
// names of the rows say whose they are: realServer/FARM/NAME, serverFarm/FARM and
// virtualServer/NAME. Names have no slash.
func (a *asked) note(changed []status.ID) (look bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range changed {
		switch id.Kind() {
		case status.KindRealServer, status.KindServerFarm:
			farm, _, _ := strings.Cut(id.Name(), "/")
			if a.served[farm] {
				a.changed[farm], look = true, true
			}
		case status.KindVirtualServer:
			if a.virtuals[id.Name()] {
				a.words[id.Name()], look = true, true
			}
		}
	}
	return look
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
