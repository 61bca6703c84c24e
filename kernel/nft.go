package kernel

import (
	"context"
	"errors"
)

// nft keeps the tables of nftables.
type nft struct{}

var errNotYet = errors.New("nftables: not built yet")

func newNFT(Options, func(p part, owner string, problems []string)) (*nft, error) { return &nft{}, nil }

func (n *nft) name() string { return "nftables" }

func (n *nft) want(string, *Wishes) {}

func (n *nft) sync(context.Context, string) error { return errNotYet }

func (n *nft) run(ctx context.Context) error { <-ctx.Done(); return nil }

func (n *nft) close() {}

// Changed says that elements of these sets have changed. They are written
// soon; it returns at once.
func (n *nft) Changed(owner string, sets ...*Elements) {}

// Elements gives the elements of a set or map as they are in Linux now, those
// that packets put there too, with the time they have left.
func (n *nft) Elements(table, set string) ([]Element, error) { return nil, errNotYet }

// Delete removes elements of a dynamic set by their keys. It is no error if
// there are none.
func (n *nft) Delete(table, set string, keys ...[]byte) error { return errNotYet }

// Counted is what a named counter says.
type Counted struct{ Packets, Octets uint64 }

// Counts gives the named counters of a table.
func (n *nft) Counts(table string) (map[string]Counted, error) { return nil, errNotYet }

// Text writes the tables of wishes in the syntax of nft.
func (w *Wishes) Text() string { return "" }

// Text writes a table in the syntax of nft.
func (t *Table) Text() string { return "" }
