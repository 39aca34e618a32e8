package engine

// Mode is one row of the failure modes' table; docs/failures.md is generated from it.
type Mode struct {
	Code     string
	Verdict  Verdict
	Title    string
	Seen     string
	Done     string
	Severity Severity
	Hides    []string // codes of modes that are only consequences of this one
}

// Modes is the table of failure modes, worst first.
func Modes() []Mode {
	return []Mode{
		{"NL-101", Off, "Compute host lost power", "silent on every plane; its bound BMC read off twice", "off is sent all the same so that it sticks; VMs come back elsewhere", Critical, []string{"NL-106", "NL-107"}},
		{"NL-102", Dead, "Compute host is dead", "silent on every plane to valid witnesses for dead_after", "fenced until off was read back; VMs come back elsewhere", Critical, []string{"NL-106", "NL-107"}},
		{"NL-103", Rebooted, "Compute host rebooted by itself", "pulses with a new boot", "VMs are restarted in place; elsewhere if it isn't healthy within reboot_wait", Warning, nil},
		{"NL-104", Isolated, "Compute host lost its management network", "silent on management, alive on another plane", "alert; VMs run on and are left alone unless the policy says fence", Warning, []string{"NL-107"}},
		{"NL-105", Degraded, "Compute host lost its storage or tenant network", "pulses, but a plane is silent to valid witnesses", "alert unless the policy says fence", Warning, nil},
		{"NL-106", Hung, "Compute host hangs", "its kernel answers; agent and nova-compute are silent for hung_after", "alert; waits for an operator unless the policy says fence", Warning, []string{"NL-107"}},
		{"NL-107", AgentDown, "Ninelives agent is down", "the kernel answers, the agent doesn't, nova-compute reports", "alert; left alone while its VMs run", Warning, nil},
		{"NL-108", Contradiction, "Evidence contradicts itself", "BMC reads off but the host pulses, or two boots of one host pulse", "alert; that device or agent loses its voice", Critical, nil},
		{"NL-109", Leaving, "Compute host is shutting down", "it said goodbye", "nothing for `leaving`, then as the evidence says", Info, nil},
		{"NL-110", ByOperator, "Operator's order", "an operator asked for the fence, or gave their word that the host is down", "fenced or taken as fenced; VMs come back elsewhere", Warning, nil},
	}
}

// ModeOf returns the row of a verdict.
func ModeOf(v Verdict) (Mode, bool) {
	for _, m := range Modes() {
		if m.Verdict == v {
			return m, true
		}
	}
	return Mode{}, false
}
