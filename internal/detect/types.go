// Package detect turns observations of compute hosts (pulses, probes, power readings, Nova's service reports)
// into verdicts.
//
// It is a pure core: no goroutine, no clock, no I/O, no logging. The caller hands in every observation together
// with its own monotonic time; what comes back is data. Nothing in here is persisted: a new leader starts from
// what it hears itself. A Detector is not safe for concurrent use: one loop owns it.
//
// The rule over all others: unknown means no. Missing evidence never adds up to a verdict that leads to an action.
package detect

// Verdict is what the evidence about a host adds up to. The zero value is Unknown, on which nobody acts.
type Verdict string

// The verdicts, in the precedence of the table in DESIGN.md beside this file.
const (
	Unknown       Verdict = ""              // never seen, unprotected, or an earlier verdict was withdrawn by new life
	Contradiction Verdict = "contradiction" // a bound device reads off while the host pulses, or two boots pulse
	Up            Verdict = "up"            // it pulses
	Leaving       Verdict = "leaving"       // it said that it is shutting down
	Off           Verdict = "off"           // silent, and its bound device read off twice
	Rebooted      Verdict = "rebooted"      // it pulses with a new boot: the old guests are gone
	Dead          Verdict = "dead"          // silent on every plane to valid witnesses
	Isolated      Verdict = "isolated"      // silent on management, alive on another plane
	Degraded      Verdict = "degraded"      // it pulses, but storage or tenant is silent to valid witnesses
	Hung          Verdict = "hung"          // its kernel answers; agent and nova-compute are silent
	AgentDown     Verdict = "agent-down"    // its kernel answers, the agent doesn't, nova-compute reports
)

// Plane is a network that a host can be seen on.
type Plane string

// The planes. Pulses travel on Management: a pulse is life there, and says nothing of the others.
const (
	Management Plane = "management"
	Storage    Plane = "storage"
	Tenant     Plane = "tenant"
)

// Answer is what came back for a probe's fresh nonce. ARP, RST and "unreachable" are None: they are never life.
type Answer string

// The answers. The zero value is None: no answer is the only thing that an absent value may mean.
const (
	AnswerNone   Answer = ""       // nothing within Times.ProbeTimeout
	AnswerKernel Answer = "kernel" // an ICMP echo with the nonce
	AnswerAgent  Answer = "agent"  // the agent's probe port echoed the nonce
)

// PowerState is what a fence device reads. The zero value is PowerUnknown: never evidence of anything.
type PowerState string

// The power states.
const (
	PowerUnknown PowerState = ""
	PowerOn      PowerState = "on"
	PowerOff     PowerState = "off"
)

// Worse tells whether a host with this verdict counts as failed for the storm interlock, which counts hosts that
// are "suspect or worse". Hosts that pulse, that said goodbye, or that are known to run their guests don't.
func (v Verdict) Worse() bool {
	switch v {
	case Off, Dead, Isolated, Hung:
		return true
	case Unknown, Contradiction, Up, Leaving, Rebooted, Degraded, AgentDown:
		return false
	}
	return true // a verdict that nobody thought of here counts against acting
}

// String names the verdict for people: Unknown reads "unknown".
func (v Verdict) String() string {
	if v == Unknown {
		return "unknown"
	}
	return string(v)
}
