// Package gateway holds the acceptance tests of a gateway that balances
// outbound traffic and proxies DNS: the real program in a namespace of its own,
// between real clients and several ISPs (nettest.Gateway), with traffic that the
// servers at the other end count. It has no code but tests.
//
// A test has a number, TestA01 to TestA25, and A26 those of explain flow; each proves the rules that its
// comment names (outbound.md in the design, the FAQ's items, traps T1 to T60).
// make e2e runs them. Its benchmarks (figures_test.go) compare the gateway with
// others, by make bench-kernel. Start reading at portolan_test.go.
package gateway
