// Package world is the truth of a simulated cloud and the rules it obeys.
//
// It is pure: one goroutine, no clock of its own, no socket, no logger. Time
// enters through [World.Advance]; chance comes from one seeded PCG. The same
// seed and the same calls at the same times give the same history, compared by
// [World.TraceHash].
//
// Two things are kept strictly apart. Nova's *record* of a VM ([VM]) is what
// the API answers. The *running copies* ([Copy]) are which machine, in which
// boot, really runs a QEMU of that uuid. Faults pull the two apart, and the
// truth checks ([World.DoubleRuns], [World.Lost], [World.VMsDown]) look only at
// the second.
//
// A World is not safe for concurrent use; package wire puts a lock around it.
package world
