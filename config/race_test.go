//go:build race

package config

import "time"

// limit stretches a time limit: the race detector makes everything slower.
func limit(d time.Duration) time.Duration { return 20 * d }
