package store

import (
	"errors"
	"io/fs"
	"testing"
)

// What use does not accept is passed over for the generation before it; another
// version ends the search (D3).
func TestBytes(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var got string
	take := func(body []byte) error {
		if string(body) == "bad" {
			return errors.New("bad")
		}
		got = string(body)
		return nil
	}
	if _, err := s.LoadBytes("thing", 1, take); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing saved: %v", err)
	}
	for _, body := range []string{"good", "bad"} {
		if err := s.SaveBytes("thing", 1, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := s.LoadBytes("thing", 1, take); err != nil || got != "good" || len(found.PassedOver) != 1 {
		t.Errorf("%q, %+v, %v", got, found, err)
	}
	if err := s.SaveBytes("thing", 2, []byte("newer")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoadBytes("thing", 1, take); !errors.Is(err, ErrVersion) {
		t.Errorf("another version: %v", err)
	}
}
