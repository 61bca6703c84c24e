package store

import "slices"

// SaveBytes is [Store.SaveJSON] for what has a compact form of its own.
func (s *Store) SaveBytes(kind string, version int, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.save(kind, version, body)
	return err
}

// LoadBytes gives the newest generation of a kind that is whole and that use
// accepts; use must not keep body. Its errors are those of [LoadJSON].
func (s *Store) LoadBytes(kind string, version int, use func(body []byte) error) (Found, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(kind, version, func(body []byte) error { return use(slices.Clip(body)) })
}
