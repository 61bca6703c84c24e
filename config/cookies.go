package config

import "time"

// Cookies are DNS cookies (RFC 7873 with the server cookies of RFC 9018): a
// client that returns the one it was given has proved that its address is not
// forged.
type Cookies struct {
	Enabled  bool     `yaml:"enabled" json:"enabled"`   // answer clients that send cookies with one (default true)
	Rotation Duration `yaml:"rotation" json:"rotation"` // how long a random secret signs, 1h to 720h (default 24h)
}

func (k *Cookies) defaults() {
	*k = Cookies{Enabled: true, Rotation: Duration(24 * time.Hour)}
}

// check refuses a rotation shorter than the hour that a cookie lives.
func (k *Cookies) check(c *checker) {
	between(c, &k.Rotation, Duration(time.Hour), Duration(720*time.Hour))
}
