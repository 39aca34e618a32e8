package engine

import (
	"fmt"
	"slices"
	"time"
)

// Verdict is what the evidence about a host adds up to (package detect reaches it; DESIGN.md beside it has the table).
type Verdict string

// The verdicts the engine acts on. The zero value is a host nobody has seen yet.
const (
	Up            Verdict = "up"
	Leaving       Verdict = "leaving"
	Off           Verdict = "off"
	Rebooted      Verdict = "rebooted"
	Dead          Verdict = "dead"
	Isolated      Verdict = "isolated"
	Degraded      Verdict = "degraded"
	Hung          Verdict = "hung"
	AgentDown     Verdict = "agent-down"
	Contradiction Verdict = "contradiction"
	ByOperator    Verdict = "operator" // an operator's word: host fence, host confirm-down
)

// Phase is where an incident stands.
//
//	alert ─┐
//	open ──┴→ fencing → taking-out → resurrecting → recovered → closed
//	 │                                                 └→ retrying ┘
//	 └────→ in-place ────────────────────────────────────────────→ closed
type Phase string

// The phases of an incident.
const (
	PhaseAlert        Phase = "alert"        // something is wrong that needs people, not acts
	PhaseOpen         Phase = "open"         // action is due; interlocks decide when
	PhaseFencing      Phase = "fencing"      // making certain
	PhaseTakingOut    Phase = "taking-out"   // proof is on record; Nova is being told, the VMs are listed
	PhaseResurrecting Phase = "resurrecting" // VMs are coming back elsewhere
	PhaseInPlace      Phase = "in-place"     // the host rebooted by itself: its VMs are restarted there
	PhaseRecovered    Phase = "recovered"    // every VM is settled; the host is brought back
	PhaseRetrying     Phase = "retrying"     // the host is back in service; VMs of it that failed are tried again
	PhaseClosed       Phase = "closed"
)

// known reports whether a record may say so: a phase of a later version is driven by nothing here.
func (p Phase) known() bool {
	switch p {
	case PhaseAlert, PhaseOpen, PhaseFencing, PhaseTakingOut, PhaseResurrecting, PhaseInPlace, PhaseRecovered, PhaseRetrying, PhaseClosed:
		return true
	default:
		return false
	}
}

// Proof says that boot Boot of Host ended before At.
type Proof struct {
	Kind     string    `json:"kind"` // power-off, operator, reboot
	Host     string    `json:"host"`
	Boot     string    `json:"boot"` // "": whatever ran there, by an operator's word
	At       time.Time `json:"at"`
	Device   string    `json:"device,omitempty"` // which device read off
	Devices  []string  `json:"devices,omitempty"`
	Readings []Reading `json:"readings,omitempty"`
	By       string    `json:"by,omitempty"`
	Reason   string    `json:"reason,omitempty"`
}

// Reading is one power state that a device gave.
type Reading struct {
	Device string    `json:"device"`
	State  string    `json:"state"` // on, off, unknown
	At     time.Time `json:"at"`
}

// Interlock is a reason not to act now.
type Interlock struct {
	Code   string    `json:"code"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// Fencing is how far the ladder of levels has been climbed.
type Fencing struct {
	Level    int       `json:"level"` // index of the level to try next
	Round    int       `json:"round"` // whole rounds that failed
	Next     time.Time `json:"next,omitzero"`
	At       time.Time `json:"at,omitzero"`        // when the last off was begun; zero: none may have been sent
	Trying   []string  `json:"trying,omitempty"`   // devices of a level whose answer is not known: they may have been switched off
	Commands []string  `json:"commands,omitempty"` // devices that were sent an off, to be switched on again
}

// TakenOut is what we did to the host's nova-compute service, so that exactly that is undone.
type TakenOut struct {
	Begun         bool      `json:"begun,omitempty"`
	Done          bool      `json:"done,omitempty"`
	Disabled      bool      `json:"disabled,omitempty"`        // we disabled it (an operator hadn't)
	Forced        bool      `json:"forced,omitempty"`          // we forced it down (nobody had)
	Reason        string    `json:"reason,omitempty"`          // our reason, word for word
	Late          time.Time `json:"late,omitzero"`             // until then a request that nobody answered may still be delivered
	UndoneByOther bool      `json:"undone_by_other,omitempty"` // somebody un-forced it half-way: an operator's stop
}

// Return is how far the host has come back.
type Return struct {
	PowerOn    bool      `json:"power_on,omitempty"` // it was asked to be switched on; the answer may be unknown
	Powered    time.Time `json:"powered,omitzero"`   // it is on
	Boot       string    `json:"boot,omitempty"`     // the new boot that pulses
	Seen       time.Time `json:"seen,omitzero"`
	Healthy    time.Time `json:"healthy,omitzero"`   // since when agent and nova-compute are both fine
	Lived      bool      `json:"lived,omitempty"`    // that boot was judged dead and lived on: its VMs may run already
	PutBack    bool      `json:"put_back,omitempty"` // Nova was asked to take it back; the answer may be unknown
	Readmit    bool      `json:"readmit,omitempty"`  // an operator asked for it
	Readmitted time.Time `json:"readmitted,omitzero"`
}

// Stages are the moments an incident's times are counted from.
type Stages struct {
	LastLife    time.Time `json:"last_life,omitzero"`
	Suspect     time.Time `json:"suspect,omitzero"`
	Verdict     time.Time `json:"verdict,omitzero"`
	Proof       time.Time `json:"proof,omitzero"`
	TakenOut    time.Time `json:"taken_out,omitzero"`
	Resurrected time.Time `json:"resurrected,omitzero"`
	Closed      time.Time `json:"closed,omitzero"`
}

// Incident is the durable record of one failure.
type Incident struct {
	ID         string      `json:"id"`
	Host       string      `json:"host"`
	Zone       string      `json:"zone,omitempty"`
	Verdict    Verdict     `json:"verdict"`
	Reason     string      `json:"reason"`
	Evidence   []string    `json:"evidence,omitempty"`
	Boot       string      `json:"boot"` // the life that failed
	Phase      Phase       `json:"phase"`
	Opened     time.Time   `json:"opened"`
	Stages     Stages      `json:"stages"`
	Fencing    Fencing     `json:"fencing"`
	Unhealthy  bool        `json:"unhealthy,omitempty"` // it lives, but did not become healthy after its reboot: to be fenced all the same
	Restart    bool        `json:"restart,omitempty"`   // its VMs went down with a reboot: if it turns out to live, they are restarted there
	Proof      *Proof      `json:"proof,omitempty"`
	Earlier    *Proof      `json:"earlier,omitempty"` // Boot came after this proof, which settled the VMs of the boot before it: see livesOn
	Out        TakenOut    `json:"out"`
	Return     Return      `json:"return"`
	Listed     time.Time   `json:"listed,omitzero"`  // Nova's clock at the list the plan was made from
	Before     []string    `json:"before,omitempty"` // evacuations that Nova's records showed then: none of this incident's
	Planned    bool        `json:"planned,omitempty"`
	Strays     []string    `json:"strays,omitempty"`  // VMs that were on their way here when it died: Nova's order may still lie in its queue
	Revoked    string      `json:"revoked,omitempty"` // the proof was contradicted: nothing new is sent
	Foreign    string      `json:"foreign,omitempty"` // somebody else evacuates this host
	Aborted    string      `json:"aborted,omitempty"`
	Interlocks []Interlock `json:"interlocks,omitempty"`
	Log        []Entry     `json:"log,omitempty"`

	stuck    *Interlock // why the last act failed, until one succeeds
	foundOff time.Time  // when this leader found the devices off that an earlier one had begun to switch off
}

func (in *Incident) closed() bool { return in.Phase == PhaseClosed }

// acting reports whether the incident has gone beyond watching: its host's VMs are this incident's to bring back.
func (in *Incident) acting() bool {
	return in.Phase != PhaseAlert && in.Phase != PhaseClosed
}

// fenced reports whether the incident's host is certainly down, as far as its VMs are concerned: there is a proof, and
// the host isn't merely one that rebooted and runs its VMs again itself.
func (in *Incident) fenced() bool { return in.Proof != nil && in.Phase != PhaseInPlace }

// held reports whether the incident waits for the interlock of this code.
func (in *Incident) held(code string) bool {
	return slices.ContainsFunc(in.Interlocks, func(l Interlock) bool { return l.Code == code })
}

// coming reports whether the host is on its way back: nothing is sent elsewhere any more, what is left waits for it.
func (in *Incident) coming() bool {
	return in.Phase == PhaseRetrying || in.Phase == PhaseRecovered && (in.Return.PowerOn || in.Return.Boot != "")
}

// covers reports whether the given boot may be the one that the proof says has ended.
func (p *Proof) covers(boot string) bool {
	return boot == "" || p.Boot == "" || p.Boot == boot
}

func (p *Proof) String() string {
	if p.Kind == "operator" {
		return fmt.Sprintf("%s says that %s is down: %s", p.By, p.Host, p.Reason)
	}
	if p.Kind == "reboot" {
		return fmt.Sprintf("%s pulses with a new boot", p.Host)
	}
	return fmt.Sprintf("%s read off", p.Device)
}
