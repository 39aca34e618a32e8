// Package engine is the core that decides. It is pure: it has no clock, no network, no goroutine and no logger.
// Events go in, effects come out:
//
//	eff := e.Step(now, event)
//
// The shell (package server) persists eff.Records in one transaction before it begins any of eff.Actions: the record
// is the intent, and its commit is the permit of the act (see the permit in package store). Each action's result comes
// back as an event. A step first takes the event in, then asks of every open incident what should be happening now;
// what is already under way isn't begun again. So a new leader that loads the records arrives at the same decisions.
package engine
