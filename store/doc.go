// Package store keeps what must outlive the process: the last good
// configuration with every file it refers to ([Store.SaveConfig]), the
// operators' holds, the last good sets of pools, and whatever else its owner
// wants back after a restart, such as probe's states ([Store.SaveJSON]).
//
// On one node that is a folder of files ([Open]). Each kind of thing has three
// generations; a file carries its kind, version, time and checksum, and comes
// into being by rename, so that a torn or damaged file costs one generation
// and never gives half of something. Contents of configurations lie apart, by
// their checksum, so that a large file that did not change is not written
// again.
//
// Nothing here is on the path of a query, and nobody may wait for it there:
// saving means fsync. The package does not decide when to save or what a
// loaded state is worth; that is daemon.
//
// Start reading at [Store], then generations.go.
package store
