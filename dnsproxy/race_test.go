//go:build race

package dnsproxy

// Under the race detector the long property tests are cut short.
const raceEnabled = true
