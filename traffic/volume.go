package traffic

import "github.com/portolan-lb/portolan/kernel"

// Volume is what went in one direction of a session.
type Volume struct {
	Packets uint64 `json:"packets"`
	Octets  uint64 `json:"octets"`
}

// VolumeOf shows what went in one direction.
func VolumeOf(t kernel.Traffic) *Volume { return &Volume{t.Packets, t.Octets} }
