package config

import "time"

// Duration is a time with a unit in YAML ("5s", "500ms", "2h").
type Duration time.Duration

// Percent is a share written "70%"; the value is 0 to 100.
type Percent int

// Bandwidth is in bits per second, written with a unit ("100Mbps").
type Bandwidth uint64
