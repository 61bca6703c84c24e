package config

import "time"

// Cookies are DNS cookies (RFC 7873 with the server cookies of RFC 9018): a
// client that returns the one it was given has proved that its address is not
// forged.
type Cookies struct {
	Enabled     bool     `yaml:"enabled" json:"enabled"`                 // answer clients that send cookies with one (default true)
	SecretFile  string   `yaml:"secretFile" json:"secretFile,omitempty"` // secrets of 32 hexadecimal digits, one a line, at most 8; the first one signs, all of them verify. Give the same file to every server behind one address. Default: a random secret, of this server alone
	Rotation    Duration `yaml:"rotation" json:"rotation"`               // how long a random secret signs, 1h to 720h (default 24h); not used with secretFile
	DemandAbove int      `yaml:"demandAbove" json:"demandAbove"`         // UDP queries a second without a valid cookie, of all clients together, that are answered at once, those that RRL exempts not counted; above, a client with cookies gets BADCOOKIE, and of the queries without cookies those too many get TC. 0 to 100000000; 0: no bound (default 100000)
}

func (k *Cookies) defaults() {
	*k = Cookies{Enabled: true, Rotation: Duration(24 * time.Hour), DemandAbove: 100_000}
}

// check refuses a rotation shorter than the hour that a cookie lives.
func (k *Cookies) check(c *checker) {
	between(c, &k.Rotation, Duration(time.Hour), Duration(720*time.Hour))
	between(c, &k.DemandAbove, 0, 100_000_000)
	if c.given(&k.SecretFile) {
		c.exists(&k.SecretFile)
	}
	if c.given(&k.SecretFile) && c.given(&k.Rotation) {
		c.bad(&k.Rotation, "secrets of a file are not rotated by this server: remove rotation, or secretFile")
	}
}
