package dnsproxy

import (
	"sync"
	"time"
)

// maxShared bounds who waits for one exchange of somebody else.
const maxShared = 1000

// flights joins equal questions to one server while they are outstanding: what
// is asked once cannot be guessed at a hundred times side by side (the birthday
// attack), and a burst for one name is one query.
type flights struct {
	mu sync.Mutex
	of map[flightKey]*flight
}

type flightKey struct {
	server   *learnt
	question string // as the cache has it, and the client subnet
}

// flight is an exchange that others may wait for.
type flight struct {
	done    chan struct{}
	waiting int
	answer  *answer
	err     *exchangeError
}

// do runs ask, or waits for the same that another runs. joined says which.
func (f *flights) do(k flightKey, timeout time.Duration, ask func() (*answer, *exchangeError)) (ans *answer, err *exchangeError, joined bool) {
	f.mu.Lock()
	if in := f.of[k]; in != nil && in.waiting < maxShared {
		in.waiting++
		f.mu.Unlock()
		late := time.NewTimer(timeout)
		defer late.Stop()
		select {
		case <-in.done:
			return in.answer, in.err, true
		case <-late.C:
			return nil, &exchangeError{failure: failTimeout}, true
		}
	}
	mine := &flight{done: make(chan struct{}), err: &exchangeError{failure: failNetwork}}
	first := f.of[k] == nil
	if first {
		f.of[k] = mine
	}
	f.mu.Unlock()
	defer func() {
		if first {
			f.mu.Lock()
			delete(f.of, k)
			f.mu.Unlock()
		}
		close(mine.done) // also when ask panics: nobody waits in vain
	}()
	mine.answer, mine.err = ask()
	return mine.answer, mine.err, false
}
