// Package farm holds the acceptance tests of server load balancing in the
// kernel: the real program in a namespace of its own, between clients and the
// servers of nettest.Farm, which tell who they are and fail as servers do. It
// has no code but tests.
//
// TestB01 to TestB10 have the numbers of the design (slb.md, section 9); those
// from B11 on prove what else the FAQ and the traps of the design ask for. Each
// says which rules it proves. make e2e runs them. Start reading at
// balancer_test.go.
package farm
