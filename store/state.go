package store

import (
	"encoding/json"
	"fmt"

	"github.com/portolan-lb/portolan/status"
)

// SaveJSON keeps v as a new generation of a kind, unless it equals the newest.
// kind is a short word of lower-case letters that the program fixes; version
// is that of v's form, 0 to 999,999,999.
func (s *Store) SaveJSON(kind string, version int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("save %s: %w", kind, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.save(kind, version, body)
	return err
}

// LoadJSON gives the newest generation of a kind that is whole. v, a pointer
// to a T, is set only on success. The error is [io/fs.ErrNotExist] when nothing
// was saved and [ErrVersion] when a newer portolan saved it.
func LoadJSON[T any](s *Store, kind string, version int, v *T) (Found, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(kind, version, func(body []byte) error {
		// A fresh one for each try: what a damaged generation left must not stay.
		var fresh T
		if err := json.Unmarshal(body, &fresh); err != nil {
			return err
		}
		*v = fresh
		return nil
	})
}

// The kinds that the store itself knows, and the version of each one's form.
const (
	kindHolds    = "holds"
	holdsVersion = 1
	kindSets     = "last-good-sets"
	setsVersion  = 1
)

// SaveHolds keeps the operators' holds.
func (s *Store) SaveHolds(holds map[status.ID]status.Hold) error {
	return s.SaveJSON(kindHolds, holdsVersion, holds)
}

// LoadHolds gives the holds of the last run, those whose time is over too.
func (s *Store) LoadHolds() (map[status.ID]status.Hold, Found, error) {
	var holds map[status.ID]status.Hold
	found, err := LoadJSON(s, kindHolds, holdsVersion, &holds)
	return holds, found, err
}

// SaveLastGoodSets keeps, by pool, the targets of the last active set that was
// not empty.
func (s *Store) SaveLastGoodSets(sets map[string][]string) error {
	return s.SaveJSON(kindSets, setsVersion, sets)
}

// LoadLastGoodSets gives what SaveLastGoodSets kept.
func (s *Store) LoadLastGoodSets() (map[string][]string, Found, error) {
	var sets map[string][]string
	found, err := LoadJSON(s, kindSets, setsVersion, &sets)
	return sets, found, err
}
