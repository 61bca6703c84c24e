//go:build race

package l4

// raceOn says whether the race detector slows everything down.
const raceOn = true
