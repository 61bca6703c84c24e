//go:build race

package proximity

// Under the race detector sync.Pool drops items at random.
const raceEnabled = true
