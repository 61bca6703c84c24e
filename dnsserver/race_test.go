//go:build race

package dnsserver

// Under the race detector the long property tests are cut short.
const raceEnabled = true
