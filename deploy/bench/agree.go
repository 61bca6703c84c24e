package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
)

// settled says whether a server answers, and no longer with members that are
// down: those get one answer in ten, so 60 answers hold one all but surely.
func (w *world) settled(s *server) error {
	if _, _, err := address(s.Addr, w.static(0), netip.Prefix{}); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 60 {
		addr, _, err := address(s.Addr, w.dynamic(i), w.client(r))
		if err != nil {
			return err
		}
		if _, m := whose(addr); m == downMember {
			return errors.New("it still answers with what is down")
		}
	}
	return nil
}

// agreeNames is how many names the clients ask for.
const agreeNames = 20

// tally is how one server answered the clients.
type tally struct {
	right   int
	regions []int // by client
	members [len(weights)]int
}

// agree puts the same clients to every server and prints whether each got its
// region, of the longest network around it, and of which members. One client
// that got another region is an error, and so is an answer that is down.
func (w *world) agree(out io.Writer, servers []*server, n int) error {
	var first *tally
	var errs []error
	fmt.Fprintf(out, "%d random client networks, by Client Subnet:\n", n)
	for _, s := range servers {
		t, err := w.ask(s, n)
		errs = append(errs, err)
		if err != nil {
			continue
		}
		if first == nil {
			first = t
		}
		equal := 0
		for i, region := range t.regions {
			if region == first.regions[i] {
				equal++
			}
		}
		fmt.Fprintf(out, "  %-15s region as the map says: %d; as portolan: %d; members by weight %v: %v\n", s.Name, t.right, equal, weights, t.members)
	}
	return errors.Join(errs...)
}

// ask asks one server for all clients.
func (w *world) ask(s *server, n int) (*tally, error) {
	t := &tally{}
	r := rand.New(rand.NewPCG(7, 8)) // the same clients for every server
	var errs []error
	for i := range n {
		client := w.client(r)
		// Few names, as pools that take turns by weight do so each by itself.
		addr, _, err := address(s.Addr, w.dynamic(i%agreeNames), client)
		if err != nil {
			return nil, fmt.Errorf("%s: client %s: %w", s.Name, client, err)
		}
		region, m := whose(addr)
		want := w.region(client.Addr())
		if region == want {
			t.right++
		} else if len(errs) < 5 {
			errs = append(errs, fmt.Errorf("%s: client %s: %s, the map says %s", s.Name, client, regions[region], regions[want]))
		}
		if m == downMember {
			errs = append(errs, fmt.Errorf("%s: client %s: %s is down", s.Name, client, addr))
		}
		t.regions = append(t.regions, region)
		t.members[m]++
	}
	return t, errors.Join(errs...)
}
