// Package client speaks to a running daemon over its API socket, for the
// commands and for tests. Every error that it gives is an [*api.Error], which
// knows its exit code.
//
// Start reading at [New].
package client
