// Package doctor tells what of this machine's settings, rules and programs stands
// in the way of a gateway, and by which command each of it is repaired. It changes
// nothing, and needs no server that runs.
//
// What is so is read once ([Look], through package kernel) into [Facts]; what is
// wrong with it is told by pure functions, one for each kind of trouble
// ([Examine]). What could not be read is told too, so that silence means health.
//
// It does not judge the configuration, which portolan check does, nor links that
// are down, which serve tells.
//
// Start reading at facts.go; checks are in settings.go, rules.go, chains.go and
// ports.go.
package doctor
