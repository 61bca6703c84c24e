// Package nettest gives tests a Linux network of their own: namespaces and the
// cables between them. Only tests import it. A test that uses it needs root and
// has a name that ends in _Root (docs/ARCHITECTURE.md, Tests).
//
// A [Space] has no name and belongs to one thread, so that nothing of it is
// seen outside and nothing of it is left when the test's process ends, however
// it ends. Start reading at [New].
package nettest
