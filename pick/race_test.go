//go:build race

package pick

// Under the race detector sync.Pool drops items at random.
const raceEnabled = true
