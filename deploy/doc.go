// Package deploy is what an installation needs besides the program: the
// systemd unit and a sample configuration. It has no code of its own; its test
// holds them, and the configuration in the README, against the program.
package deploy
