// Package policy holds the operator's rules: which virtual machines come back
// after their host died, in what order, and how bold Ninelives may be with hosts.
//
// It is pure: text in, decisions out. Unknown means no: a rule that can't be
// evaluated, because a fact could not be read, never leads to an action; see Decide.
package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Action is what is done with a VM whose host died.
type Action string

// The actions. The zero Action is none of them and must be treated as Hold.
const (
	Resurrect Action = "resurrect"
	Leave     Action = "leave" // the VM is skipped, on purpose
	Hold      Action = "hold"  // it can't be told which rule applies; only Decide makes it, no rule can ask for it
)

// Stopped is what happens to a VM that was SHUTOFF when its host died.
type Stopped string

// The choices for stopped VMs. StoppedAuto is the default: it comes back
// SHUTOFF where Nova can do that (microversion 2.95), else it stays where it is.
const (
	StoppedAuto      Stopped = "auto"
	StoppedLeave     Stopped = "leave"
	StoppedResurrect Stopped = "resurrect" // even if Nova boots it for a moment
)

// Response is what is done about a host whose verdict is isolated, degraded or hung.
type Response string

// The responses. Everything but Fence means that only the operator is told.
const (
	ResponseHold  Response = "hold"
	ResponseWait  Response = "wait" // a hung host may wake up again
	ResponseFence Response = "fence"
)

// PowerOn is what happens to a fenced machine once its VMs are settled.
type PowerOn string

// The choices for fenced machines.
const (
	PowerOnAfterRecovery PowerOn = "after_recovery"
	PowerOnManual        PowerOn = "manual"
)

// Sharing says how it is known whether two hosts see the same instances store.
type Sharing string

// The ways. Detect compares what the two hosts' agents report.
const (
	Detect Sharing = "detect"
	Local  Sharing = "local"  // never shared
	Shared Sharing = "shared" // the operator's word that it is
)

// Policy is a parsed policy file. It is immutable and safe for concurrent use.
// The zero Policy has no rules and allows no fence.
type Policy struct {
	path   string
	source string
	rules  []rule
	store  ephemeral
	hosts  hosts
	advice []Advice

	mentions []mention
}

// Advice is something that is allowed and probably not meant, found by Parse or Unseen.
type Advice struct {
	Line    int    `json:"line"`
	Message string `json:"message"`
}

// Path names the file that the policy was parsed from, "built-in" for Default.
func (p *Policy) Path() string { return p.path }

// Source is the text that the policy was parsed from; empty for Default.
func (p *Policy) Source() string { return p.source }

// Advice lists what is allowed but probably not meant, sorted by line.
func (p *Policy) Advice() []Advice { return slices.Clone(p.advice) }

// Version identifies the text of the policy: 12 hexadecimal digits of its
// SHA-256, or "built-in" for Default.
func (p *Policy) Version() string {
	if p.source == "" {
		return builtIn
	}
	sum := sha256.Sum256([]byte(p.source))
	return hex.EncodeToString(sum[:6])
}

// OnIsolated is the response to a host that is silent on the management plane
// and alive on another one: ResponseHold or ResponseFence.
func (p *Policy) OnIsolated() Response { return p.hosts.OnIsolated }

// OnDegraded is the response to a host that pulses but has lost its storage or
// tenant plane: ResponseHold or ResponseFence.
func (p *Policy) OnDegraded() Response { return p.hosts.OnDegraded }

// OnHung is the response to a host whose kernel answers while its agent and
// nova-compute are silent: ResponseWait or ResponseFence.
func (p *Policy) OnHung() Response { return p.hosts.OnHung }

// StormPercent is how many of the hosts seen before, in per cent, may be in
// trouble at once before nothing is fenced any more.
func (p *Policy) StormPercent() int { return p.hosts.StormPercent }

// StormCooldown is how long nothing is fenced after a storm has passed.
func (p *Policy) StormCooldown() time.Duration { return p.hosts.StormCooldown.Std() }

// FencesPerMinute is how many machines may be fenced in any 60 s.
func (p *Policy) FencesPerMinute() int { return p.hosts.FencesPerMinute }

// RebootWait is how long a host that rebooted by itself has to become healthy
// before its VMs are resurrected elsewhere.
func (p *Policy) RebootWait() time.Duration { return p.hosts.RebootWait.Std() }

// Settle is how long a returned host must be healthy before it is readmitted.
func (p *Policy) Settle() time.Duration { return p.hosts.Settle.Std() }

// PowerOn is what happens to a fenced machine once its VMs are settled.
func (p *Policy) PowerOn() PowerOn { return p.hosts.PowerOn }

// Sharing says how it is known whether two hosts, given by their aggregates,
// see the same instances store: Shared if one of shared_aggregates holds both,
// else the file's default.
func (p *Policy) Sharing(source, target []string) Sharing {
	for _, a := range p.store.SharedAggregates {
		if slices.Contains(source, a) && slices.Contains(target, a) {
			return Shared
		}
	}
	if p.store.Default == "" {
		return Local // the zero Policy: the careful answer
	}
	return p.store.Default
}

// stored is the JSON form: the text itself, so that no second format exists
// that could disagree with what the operator wrote.
type stored struct {
	Path   string `json:"path"`
	Source string `json:"source"`
}

// MarshalJSON implements json.Marshaler.
func (p *Policy) MarshalJSON() ([]byte, error) {
	return json.Marshal(stored{Path: p.path, Source: p.source})
}

// UnmarshalJSON implements json.Unmarshaler by parsing the stored text again.
func (p *Policy) UnmarshalJSON(data []byte) error {
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("cannot read the stored policy: %w", err)
	}
	if s.Source == "" {
		*p = *Default()
		return nil
	}
	parsed, err := Parse(s.Path, []byte(s.Source))
	if err != nil {
		return fmt.Errorf("cannot read the stored policy (was it applied by a newer version?): %w", err)
	}
	*p = *parsed
	return nil
}
