// Package config holds the words an operator writes: zone, pool, virtual
// server, link, probe, region and the rest, one file a noun.
//
// It decodes strictly ([Load]), fills in defaults, and validates; every error
// of a run is reported at once, each with file:line:col. The result is a
// [*Model], which nobody changes after [Load] has returned it.
//
// It does no I/O of its own: bytes come from an [io/fs.FS] that the caller
// gives. What is wrong *inside* a zone file, prefix list or database is
// reported by the package that reads it, with the same [Error] type.
//
// Start reading at [Model].
package config
