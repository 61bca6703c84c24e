// Package program runs the real portolan for acceptance tests: built once, in a
// namespace of the test's own, configured, changed by portolan apply, killed and
// started again as an operator would. deploy/gateway and deploy/farm are its
// users; start reading at [New].
package program
