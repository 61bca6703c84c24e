package daemon

import "github.com/portolan-lb/portolan/kernel"

// OwnerWishes is what one owner would have Linux be like.
type OwnerWishes struct {
	Owner  string
	Wishes *kernel.Wishes
}

// Wishes gives what a configuration would have Linux be like, owner by owner,
// before anything is measured or probed.
func (b *Built) Wishes() []OwnerWishes { return nil }
