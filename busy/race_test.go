//go:build race

package busy

// The race detector makes a simulation ten times slower.
const raceEnabled = true
