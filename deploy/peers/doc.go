// Package peers runs authoritative servers, ours and others, as children of a
// program that compares them: on loopback ports, in folders of their own, and
// never longer than that program. It knows nothing of what they are asked;
// deploy/bench and deploy/differ do.
package peers
