// Package daemon puts the parts together: it builds a configuration beside the
// one that runs ([Build]), swaps it in, and runs everything until it is told to
// stop ([Daemon.Run]).
//
// It decides nothing about answers, health or words; it knows only in which
// order parts are made, used and stopped, and what is kept over a restart.
//
// Start reading at [Build], which has no effect and serves check and explain
// too, then change.go for how a change comes into use.
package daemon
