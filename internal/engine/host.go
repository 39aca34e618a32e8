package engine

import (
	"slices"
	"strings"
	"time"
)

// Service is a host's nova-compute service as Nova shows it.
type Service struct {
	ID             string `json:"id"`
	Up             bool   `json:"up"`
	Disabled       bool   `json:"disabled"`
	DisabledReason string `json:"disabled_reason,omitempty"`
	ForcedDown     bool   `json:"forced_down"`
	Fresh          bool   `json:"fresh"` // its updated_at changed within the last 30 s of our own clock: it runs, whatever "state" says
}

// HostFacts is what is known of a host from outside and changes slowly.
type HostFacts struct {
	Name        string            `json:"name"`
	Zone        string            `json:"zone"`
	Aggregates  []string          `json:"aggregates,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Service     Service           `json:"service"`
	Hypervisor  string            `json:"hypervisor"`            // QEMU, KVM, fake …
	Unprotected string            `json:"unprotected,omitempty"` // why it is not protected, "" if it is
	Levels      []string          `json:"levels,omitempty"`      // its fence levels, in words
	FreeMB      int               `json:"free_mb"`
	FreeVCPUs   int               `json:"free_vcpus"`
	Running     int               `json:"running"` // VMs on it, for spreading
}

// AgentReport is an agent's own view of its host.
type AgentReport struct {
	At         time.Time `json:"at"` // when it arrived here
	Boot       string    `json:"boot"`
	Guests     []string  `json:"guests"`         // uuids of the QEMU processes it sees
	GuestsSeen bool      `json:"guests_seen"`    // whether it could look at all
	AsOf       time.Time `json:"as_of,omitzero"` // the list was read after this: it answers an order given then
	Stores     []string  `json:"stores"`         // identities of its instances stores
	GateClosed bool      `json:"gate_closed"`
	ByHand     bool      `json:"by_hand,omitempty"`    // an operator opened the gate there, in this boot
	GateStale  bool      `json:"gate_stale,omitempty"` // the order in force there isn't the last one that was sent
	Refuses    int       `json:"refuses,omitempty"`    // how many VMs it doesn't let start
}

// Maintenance is an operator's word that a host or zone is to be left alone.
type Maintenance struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// host is all the engine holds about one host.
type host struct {
	facts       HostFacts
	report      AgentReport
	now         Assessed
	lived       bool      // was up at least once
	suspected   time.Time // since when it is suspect; zero while it isn't, and kept through what the suspicion became
	troubled    time.Time // the last moment it was suspect or worse, for the storm count
	cleared     time.Time // when its proof was recorded: it is no longer an unknown
	verdicts    []time.Time
	guestsAt    time.Time            // when a new list of guests came; the same list again proves nothing new
	serviceAt   time.Time            // when its service was last read
	vms         []VM                 // the inventory before a failure
	listed      bool                 // it has been read
	arrived     []arrival            // VMs of it that no reading has shown yet
	asked       string               // boot whose gate waits for an answer
	sent        Gate                 // the last gate order that went out
	gateAt      time.Time            // when it was last tried
	forbidden   []string             // VMs that must not start there until it is taken back: an incident that was given up left it out of service
	givenUp     string               // the incident that was given up: the host is left alone until it is taken back
	late        map[string]time.Time // VMs that must not start there although it is back, until when: see lateFor
	boot        string               // the last boot whose end, if it ended, an incident has taken in; on record
	maintenance *Maintenance
}

func (h *host) alive() bool { return h.now.Verdict == Up || h.now.Verdict == Rebooted }

// pulses reports whether its agent is heard, whatever else is wrong with it.
func (h *host) pulses() bool {
	switch h.now.Verdict {
	case Up, Rebooted, Degraded, Contradiction, Leaving:
		return !h.now.Suspect
	default:
		return false
	}
}

// bad reports whether the host is suspect or worse now.
func (h *host) bad() bool {
	switch h.now.Verdict {
	case Off, Dead, Isolated, Degraded, Hung:
		return true
	default:
		return h.now.Suspect
	}
}

// takenBack reports whether a host that an incident was given up on lives, and nothing of ours holds it out of service.
func (h *host) takenBack() bool {
	s := h.facts.Service
	return h.alive() && !h.now.Suspect && !s.ForcedDown && !(s.Disabled && strings.HasPrefix(s.DisabledReason, Ours))
}

// steadily reports whether the host may take VMs: it lives without doubt, its service works and nobody wants it left alone.
func (h *host) steadily() bool {
	s := h.facts.Service
	return h.alive() && !h.now.Suspect && h.maintenance == nil && s.Up && !s.Disabled && !s.ForcedDown
}

// sees reports whether the host's agent said, within the last minute, that it sees the given store.
func (h *host) sees(now time.Time, store string) bool {
	return store != "" && now.Sub(h.report.At) <= time.Minute && slices.Contains(h.report.Stores, store)
}

// runs answers whether the host's agent sees a QEMU process of the VM, by a list that was certainly read after since: an
// older one may have been on its way for long, or be of an earlier boot.
func (h *host) runs(now time.Time, vm string, since time.Time) (runs, known bool) {
	r := h.report
	if !r.GuestsSeen || now.Sub(r.At) > 15*time.Second {
		return false, false
	}
	asked := !r.AsOf.IsZero() && !r.AsOf.Before(since)
	if slices.Contains(r.Guests, vm) {
		fresh := asked || !h.guestsAt.IsZero() && !h.guestsAt.Before(since)
		return fresh, fresh
	}
	return false, asked
}

// mayRefuse reports whether the host's agent may not let a VM start, or end it: by the list in force there, as far as
// that is known.
func (h *host) mayRefuse(vm string) bool {
	if h.sent.Boot != h.report.Boot || h.report.GateStale {
		return h.report.Refuses > 0
	}
	return slices.Contains(h.sent.Forbidden, vm)
}

// blind reports whether no agent can ever see this host's guests: the fake driver has none, or no agent has spoken.
func (h *host) blind() bool { return h.report.Boot == "" || h.facts.Hypervisor == "fake" }
