//go:build !race

package busy

const raceEnabled = false
