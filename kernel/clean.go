package kernel

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TableOf is the name of the table of nftables of an owner. The names of further
// ones begin with it and an underscore.
func TableOf(owner string) string { return tablePrefix + owner }

// Ours tells everything in the calling thread's namespace that is ours, a line
// each, whoever put it there and whenever: tables of nftables, rules, routes,
// addresses and shapers. It needs CAP_NET_ADMIN.
func Ours() ([]string, error) {
	var list []string
	err := onOurs(func(n *routing, nft *socket) (err error) {
		list, err = n.everything(nft)
		return err
	})
	return list, err
}

// Clean removes everything that [Ours] tells, nothing else, and tells what it
// removed. It is for a machine on which no Portolan runs: one that does puts it
// all back. Sysctls stay as they are, and so do sessions, by the routes that
// there are then.
func Clean() (removed []string, err error) {
	err = onOurs(func(n *routing, nft *socket) error {
		before, err := n.everything(nft)
		if err != nil {
			return err
		}
		var problems []error
		for _, owner := range owners() {
			// Tables first: then nothing is marked any more for rules to see.
			problems = append(problems, removeTables(nft, owner)...)
			for _, p := range n.reconcile(owner, &Wishes{}) {
				problems = append(problems, errors.New(p))
			}
		}
		left, err := n.everything(nft)
		for _, line := range before {
			if !slices.Contains(left, line) {
				removed = append(removed, line)
			}
		}
		return errors.Join(append(problems, err)...)
	})
	return removed, err
}

func owners() []string { return slices.Sorted(maps.Keys(protocolNumbers)) }

// onOurs opens what is needed to look and change once.
func onOurs(f func(n *routing, nft *socket) error) error {
	n, err := newRouting(Options{Log: slog.New(slog.DiscardHandler)}, func(part, string, []string) {})
	if err != nil {
		return err
	}
	defer n.close()
	nft, err := openSocket(unix.NETLINK_NETFILTER, 0, 1<<20)
	if err != nil {
		return err
	}
	defer nft.close()
	return f(n, nft)
}

// everything tells all that is ours, in the order of removal.
func (n *routing) everything(nft *socket) (list []string, err error) {
	there, err := tables(nft)
	if err != nil {
		return nil, fmt.Errorf("reading tables of nftables: %w", err)
	}
	ports, err := n.devices()
	if err != nil {
		return nil, fmt.Errorf("reading interfaces: %w", err)
	}
	q, err := n.queues()
	if err != nil {
		return nil, err
	}
	for _, owner := range owners() {
		protocol := protocolNumbers[owner]
		for _, id := range there {
			if belongs(id, owner) {
				list = append(list, "table "+longID(id))
			}
		}
		rules, err := n.entries(protocol)
		if err != nil {
			return nil, err
		}
		for i := range rules {
			list = append(list, fmt.Sprintf("rule %s %s", family(rules[i].v6), &rules[i]))
		}
		routes, err := n.roads(protocol)
		if err != nil {
			return nil, err
		}
		for i := range routes {
			list = append(list, "route "+routes[i].text(ports))
		}
		there, err := n.givens()
		if err != nil {
			return nil, err
		}
		for _, g := range there {
			if g.proto == protocol {
				list = append(list, fmt.Sprintf("address %s dev %s", g.prefix, nameOf(ports, g.index)))
			}
		}
		shapers, err := n.ourShapers(owner, handleOf(protocol), q, ports)
		if err != nil {
			return nil, err
		}
		list = append(list, shapers...)
	}
	return list, nil
}

// text is a route as the ip program takes it.
func (r *road) text(ports map[string]device) string {
	w := Route{Table: int(r.at.table), To: r.at.to, Via: r.via, OnLink: r.onlink, Source: r.source, Metric: int(r.at.metric), Interface: fmt.Sprintf("if%d", r.index)}
	for name, d := range ports {
		if d.index == r.index {
			w.Interface = name
		}
	}
	for kind, number := range routeKinds {
		if number == r.kind {
			w.Kind = RouteKind(kind)
		}
	}
	return family(r.at.v6) + " " + w.String()
}

// ourShapers tells the queues, filters and interfaces that keep rates.
func (n *routing) ourShapers(owner string, major uint16, q queues, ports map[string]device) (list []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		index := ports[name].index
		if root := q.root[index]; root != nil && root.Type() == "htb" && root.Attrs().Handle == netlink.MakeHandle(major, 0) {
			list = append(list, fmt.Sprintf("queue htb %x: of %s", major, name))
		}
		if in := q.ingress[index]; in != nil && in.Type() == "ingress" {
			ours, _, err := n.redirects(index, major)
			if err != nil {
				return nil, err
			}
			if len(ours) > 0 {
				list = append(list, fmt.Sprintf("filter %d of what comes in by %s", major, name))
			}
		}
		if !strings.HasPrefix(name, ifbPrefix) {
			continue
		}
		if link, err := n.tc.LinkByName(name); err == nil && isMirror(link, owner) {
			list = append(list, "interface "+name)
		}
	}
	return list, nil
}

// tables gives the IDs of the tables of all families that ours may have.
func tables(nft *socket) (names []string, err error) {
	err = nft.ask(nft16(unix.NFT_MSG_GETTABLE), unix.NLM_F_DUMP, []byte{unix.NFPROTO_UNSPEC, 0, 0, 0}, func(_ uint16, b []byte) {
		if len(b) == 0 {
			return
		}
		if id := idOf(b[0], text(attributesOf(b)[unix.NFTA_TABLE_NAME])); id != "" {
			names = append(names, id)
		}
	})
	if errors.Is(err, errInterrupted) {
		err = nil
	}
	return names, err
}

// removeTables removes the tables of an owner.
func removeTables(nft *socket, owner string) (problems []error) {
	there, err := tables(nft)
	if err != nil {
		problems = append(problems, fmt.Errorf("reading tables of nftables: %w", err))
	}
	for _, id := range there {
		if !belongs(id, owner) {
			continue
		}
		if err := removeTable(nft, id); err != nil {
			problems = append(problems, fmt.Errorf("table %s: %w", longID(id), err))
		}
	}
	return problems
}

// removeTable removes a table with all that is in it. It is no error if there
// is none.
func removeTable(nft *socket, name string) error {
	bad, err := transact(nft, []*op{{kind: unix.NFT_MSG_DELTABLE, body: wireTable(name), tell: tell("delete table %s", name)}}, nil)
	if len(bad) > 0 {
		err = bad[0]
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
