//go:build !planted

// Package planted holds the bugs that the simulation must be able to find: each switches one protection off. They exist
// only in programs built with the tag planted, for `make soak-planted`. Everywhere else they are constants, and nothing
// is left of them in the program.
package planted

// The protections, each switched off when true.
const (
	OneUnresolved  = false // an evacuation nobody answered is repeated at once
	RequestTTL     = false // an unanswered request is taken for lost as soon as Nova's records don't show it
	Entangled      = false // a VM that was moving when its host died is evacuated like any other
	Proof          = false // an off that was accepted is a proof, whatever is read back
	OffSticks      = false // a host that reads off is not sent off
	GateList       = false // a returned host is told of no VM that runs elsewhere
	Binding        = false // a device is not asked which machine it switches before it is used
	StormSuspects  = false // the storm interlock counts verdicts only
	ValidWitnesses = false // a witness that reaches nobody counts
	Permit         = false // nobody proves the leadership before bytes leave
	Unaccounted    = false // a VM that Nova doesn't list is not looked for
	Unforce        = false // a host is taken back while evacuations from it are open
	OneByOne       = false // evacuations wait for each other
	GivesUp        = false // a fence that failed is not tried again, and nobody is told
)
