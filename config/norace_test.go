//go:build !race

package config

import "time"

// limit is the identity without the race detector.
func limit(d time.Duration) time.Duration { return d }
