// Package traffic is what the compilers of outbound and slb share: how
// connections are told apart and counted by tables of nftables. It writes
// chains, sets and counters into one table and knows what each is for
// ([Builder]), what differs between IPv4 and IPv6 ([Family]), what traffic must
// be like to fall under a class ([Matcher]), the bounds of limit policies
// ([Matcher.LimitPolicy]) and what makes connections similar ([Similar]).
//
// It decides nothing: where a connection goes, what it is refused with and what
// a tick writes is its owners'. What it writes depends on its arguments alone,
// in an order that only the configuration decides, so that the same
// configuration makes the same text.
//
// Start reading at [Builder].
package traffic
