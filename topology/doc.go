// Package topology says which places suit which clients. It turns the rules of
// a configuration ("clients of region south prefer link telecom") into one
// table per address family, so that a look-up costs the same for one rule or
// ten thousand (T4).
//
// How a rule becomes a table entry:
//
//  1. The regions and rules are taken apart into facts: elementary questions
//     about a client such as "lies in 203.0.113.0/24", "is of ISP telecom",
//     "is in country CN" (facts.go, region.go).
//  2. Each source of facts is laid out as a layer, the address space cut into
//     runs over which its answers do not change: one layer for all prefixes of
//     the configuration and the ISPs' files (prefixes.go, prefixfile.go), one
//     for each geo database, walked once (database.go, geo.go).
//  3. The layers are laid over each other (layer.go). For each pair of answers
//     that occurs the rules are evaluated once; the rules that match, in their
//     order, make the client's [Class]. Neighbours of one class merge.
//  4. What remains is a [Table]: sorted runs with a class each, and for every
//     larger network the set of classes that occur in it (space.go).
//
// Rules that match a client are ordered by priority, then by the length of the
// client prefix that matched, then by their order in the file (T4). A database
// match counts as length 0, so that at equal priority a prefix beats a
// country. A [Place] scores each class by the first of its rules that prefers
// the place; lower rules stay candidates, so that a busy first choice gives
// way to the next that topology also matches (FAQ 1.4.4).
//
// The package knows nothing of health, load or choosing: that is pick's. It
// never probes; measured distance is proximity's.
//
// Start reading at [Compile], then [Table.Lookup].
package topology
