package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// VM is what the engine knows of a virtual machine: Nova's record, read at one moment.
type VM struct {
	ID    string    `json:"id"`
	Name  string    `json:"name"`
	Host  string    `json:"host"` // as Nova says; a live migration may have moved the guest already
	Facts policy.VM `json:"facts"`

	Status string `json:"status"`         // Nova's status: ACTIVE, SHUTOFF, ERROR …
	Task   string `json:"task,omitempty"` // Nova's task_state
	Power  string `json:"power"`          // running, shutdown, paused, suspended, crashed, none

	Locked      bool     `json:"locked,omitempty"`
	Launched    bool     `json:"launched"`     // it ran at least once
	ImageBooted bool     `json:"image_booted"` // its root disk lies in the host's instances store
	MemoryMB    int      `json:"memory_mb"`
	VCPUs       int      `json:"vcpus"`
	Apart       []string `json:"apart,omitempty"`     // anti-affinity groups it belongs to
	Immovable   string   `json:"immovable,omitempty"` // why Nova refuses to evacuate it (vTPM, passthrough …)
}

// hypervisor is what the VM's image asks for, in lower case; "" if it asks for none, or isn't known. Nova reads the first
// property, and the second as its older name.
func (v VM) hypervisor() string {
	p := v.Facts.ImageProperties
	return strings.ToLower(either(p["img_hv_type"], p["hypervisor_type"]))
}

// runsOn reports whether a host has the hypervisor that the VM's image asks for, as far as both are known. Nova calls
// every libvirt host QEMU, and lets images ask it for qemu or kvm.
func (v VM) runsOn(h *host) bool {
	want, has := v.hypervisor(), strings.ToLower(h.facts.Hypervisor)
	libvirt := func(s string) bool { return s == "qemu" || s == "kvm" }
	return want == "" || has == "" || want == has || libvirt(want) && libvirt(has)
}

// State is where a VM's recovery stands. Every VM of a dead host ends in one of the settled states (promise S3).
type State string

// The states of a recovery.
const (
	Queued       State = "queued"       // waits for its turn, or for NotBefore
	Resurrecting State = "resurrecting" // an evacuation is unresolved
	Verifying    State = "verifying"    // Nova says done; not yet seen running
	Restarting   State = "restarting"   // being restarted on its own, returned host
	Recovered    State = "recovered"    // settled: runs, verified
	Skipped      State = "skipped"      // settled: left alone, for the reason given
	Held         State = "held"         // settled until what its reason names has changed
	Failed       State = "failed"       // settled for now; tried again with back-off until an operator gives up
	Unaccounted  State = "unaccounted"  // known to have been there, not found: keeps the incident open
)

// Settled reports whether nothing is under way for a VM in this state.
func (s State) Settled() bool {
	switch s {
	case Recovered, Skipped, Held, Failed:
		return true
	default:
		return false
	}
}

// known reports whether a record may say so.
func (s State) known() bool {
	switch s {
	case Queued, Resurrecting, Verifying, Restarting, Unaccounted:
		return true
	default:
		return s.Settled()
	}
}

// Answer is how Nova answered an act, as far as anybody can know.
type Answer string

// The answers. The zero value is an intent that nobody has answered: after a crash it counts as Unanswered.
const (
	Intended   Answer = ""
	Accepted   Answer = "accepted"
	Refused    Answer = "refused"    // Nova said no; nothing happens
	NotSent    Answer = "not-sent"   // certainly never left this server
	Unanswered Answer = "unanswered" // may have arrived, may still arrive
)

// known reports whether a record may say so: an answer of a later version resolves nothing here.
func (a Answer) known() bool {
	switch a {
	case Intended, Accepted, Refused, NotSent, Unanswered:
		return true
	default:
		return false
	}
}

// Attempt is one evacuation of one VM, from the intent to its end.
type Attempt struct {
	ID        string    `json:"id"`
	Target    string    `json:"target,omitempty"` // "": Nova's scheduler chooses
	Intended  time.Time `json:"intended"`
	Answer    Answer    `json:"answer"`
	Answered  time.Time `json:"answered,omitzero"`
	To        string    `json:"to,omitempty"`        // destination that Nova's record names
	Migration string    `json:"migration,omitempty"` // uuid of Nova's migration record, once seen
	Status    string    `json:"status,omitempty"`    // that record's status
	Seen      bool      `json:"seen,omitempty"`      // Nova's instance actions show it
	Owed      bool      `json:"owed,omitempty"`      // its migration record was seen, but its answer not heard yet: the request may come once more
	Ended     time.Time `json:"ended,omitzero"`
	Lost      bool      `json:"lost,omitempty"` // it certainly never reached Nova: repeated to the same target
	Why       string    `json:"why,omitempty"`
}

// Unresolved reports whether this evacuation may still act: only a final migration record, a refusal, a request that
// was never sent, or the proof that its destination is dead resolve it. While one is, no other may be sent.
func (a Attempt) Unresolved() bool { return a.Ended.IsZero() }

// Recovery is the durable record of what becomes of one VM in one incident.
type Recovery struct {
	Incident string `json:"incident"`
	VM       VM     `json:"vm"`
	State    State  `json:"state"`
	Reason   string `json:"reason,omitempty"`

	Rule     string `json:"rule,omitempty"`
	Priority int    `json:"priority"`
	Rebuild  bool   `json:"rebuild,omitempty"` // the rule allows a new disk from the image
	Order    int    `json:"order"`             // place in the queue, from 1

	Was       string    `json:"was,omitempty"`       // Nova's status when its host died
	Elsewhere string    `json:"elsewhere,omitempty"` // host that may run it although Nova doesn't say so: never started anywhere else meanwhile
	Disputed  bool      `json:"disputed,omitempty"`  // Nova's migration says that it has moved there, its own record says it hasn't
	Reset     bool      `json:"reset,omitempty"`     // Nova's state must be reset to error before it can be evacuated
	Pause     bool      `json:"pause,omitempty"`     // it was paused: pause it again afterwards
	Stopped   bool      `json:"stopped,omitempty"`   // it was stopped: it must come back stopped
	Restart   bool      `json:"restart,omitempty"`   // to be restarted in place when its host is back
	Back      string    `json:"back,omitempty"`      // boot of its returned host that it was to be restarted on
	Tries     int       `json:"tries,omitempty"`     // acts tried, for the back-off
	NotBefore time.Time `json:"not_before,omitzero"`
	Attempts  []Attempt `json:"attempts,omitempty"`

	To       string    `json:"to,omitempty"`      // where it runs now
	SeenBy   string    `json:"seen_by,omitempty"` // agent, or nova where no agent can see it
	Accepted time.Time `json:"accepted,omitzero"`
	Done     time.Time `json:"done,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Log      []Entry   `json:"log,omitempty"`
}

// Open returns the one unresolved attempt, or nil.
func (r *Recovery) Open() *Attempt {
	if n := len(r.Attempts); n > 0 && r.Attempts[n-1].Unresolved() {
		return &r.Attempts[n-1]
	}
	return nil
}

// Entry is one line of a story: what happened, when, in words.
type Entry struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// forbidden reports whether this VM must not start on the host it was resurrected from: it runs elsewhere, or may.
func (r *Recovery) forbidden() bool {
	if r.Elsewhere != "" {
		return true
	}
	if r.State == Recovered {
		return r.To != "" && r.To != r.VM.Host
	}
	if (r.State == Skipped || r.State == Held) && r.To != "" && r.To != r.VM.Host {
		return true // somebody else moved it
	}
	return slices.ContainsFunc(r.Attempts, Attempt.mayHaveMoved)
}

// disputedWhy is the reason why a disputed VM is held.
func (r *Recovery) disputedWhy(in *Incident) string {
	return fmt.Sprintf("Nova's migration says that it is done on %s, its own record says %s: it may run there", r.Elsewhere, in.Host)
}

func (a Attempt) mayHaveMoved() bool {
	return a.Unresolved() || a.Status == "done" || a.Status == "completed"
}
