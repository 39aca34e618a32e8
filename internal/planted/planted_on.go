//go:build planted

// Package planted holds the bugs that the simulation must be able to find.
package planted

import "os"

var bug = os.Getenv("NINELIVES_PLANTED")

// The protections, each switched off when it is the named one.
var (
	OneUnresolved  = bug == "one-unresolved"
	RequestTTL     = bug == "request-ttl"
	Entangled      = bug == "entangled"
	Proof          = bug == "proof"
	OffSticks      = bug == "off-sticks"
	GateList       = bug == "gate-list"
	Binding        = bug == "binding"
	StormSuspects  = bug == "storm-suspects"
	ValidWitnesses = bug == "valid-witnesses"
	Permit         = bug == "permit"
	Unaccounted    = bug == "unaccounted"
	Unforce        = bug == "unforce"
	OneByOne       = bug == "one-by-one"
	GivesUp        = bug == "gives-up"
)
