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
// # The way of a file
//
//	guard.go    size, depth, syntax     text    -> tree      stops at the first error
//	decode.go   keys, types, words      tree    -> structs   reports all
//	check.go    ranges, references      structs -> Model     reports all, even after decode errors
//
// While it decodes, the decoder remembers where each field was written, by
// the field's address. A check that complains about &p.Min is therefore
// printed with the line, the path and the caret of that very field.
//
// # To add a field
//
// Write one struct field with its yaml tag (and words:"..." if its value is a
// word; see words.go), its default in the noun's defaults method, one line in
// the noun's check method, and one file in testdata/bad. Run
//
//	go test ./config -run "Bad|Reference" -update
//
// and read what the operator will read, there and in docs/configuration.md. If its module is not built yet, name
// it in words.go instead, so that it is refused with "needs module X".
//
// Start reading at [Model], then at [Load].
package config
