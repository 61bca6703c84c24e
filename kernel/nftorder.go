package kernel

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// inOrder sorts a list by keys, of which a range's first counts before its last.
// Elements are large, and there may be 50,000 of them: what is sorted is the
// first eight octets of each key with its place, and each element is moved once.
func inOrder[E any](list []E, of func(*E) (key, last []byte)) []E {
	type place struct {
		head uint64
		at   int
	}
	places := make([]place, len(list))
	sorted := true
	for i := range list {
		key, _ := of(&list[i])
		places[i] = place{head(key), i}
		sorted = sorted && (i == 0 || places[i-1].head < places[i].head)
	}
	if sorted {
		return list
	}
	slices.SortFunc(places, func(a, b place) int {
		if a.head != b.head {
			return cmp.Compare(a.head, b.head)
		}
		key, last := of(&list[a.at])
		otherKey, otherLast := of(&list[b.at])
		return cmp.Or(bytes.Compare(key, otherKey), bytes.Compare(last, otherLast))
	})
	all := make([]E, len(list))
	for i, p := range places {
		all[i] = list[p.at]
	}
	return all
}

// head gives the first eight octets as a number that sorts as they do.
func head(key []byte) uint64 {
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

func keysOf(el *Element) (key, last []byte) { return el.Key, el.last() }
