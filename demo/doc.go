// Package demo is a whole small world in one process: three pretend sites with
// HTTP servers on 127.0.0.x, the daemon over an embedded sample configuration
// that probes them for real, and lines to try.
//
// Nothing of it is special-cased in the daemon: the sample is an ordinary
// configuration, written to a folder of its own.
//
// Start reading at [Run].
package demo
