package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/planted"
)

// final migration statuses of Nova: such a record moves nothing any more.
var finalStatuses = []string{"done", "completed", "failed", "error", "cancelled", "confirmed", "reverted", "finished"}

func (m Migration) final() bool {
	// A resize that reads "finished" waits for its confirmation: the guest has moved, nothing moves any more, but the VM's
	// status (VERIFY_RESIZE) holds it in classify.
	return slices.Contains(finalStatuses, m.Status)
}

// entangled returns why a VM that was moving when its host died must not be touched yet, and which host may run it; ""
// if it may. The other end must be settled first: that host has a proof too, or its agent says, after our proof, that no
// QEMU has this uuid.
func (e *Engine) entangled(in *Incident, vm VM, migrations []Migration) (other, why string) {
	for _, m := range migrations {
		if planted.Entangled || m.VM != vm.ID || m.final() || m.Type == "evacuation" && m.Source == in.Host {
			continue
		}
		other := m.Dest
		if other == in.Host {
			other = m.Source
		}
		if other == in.Host || other == "" {
			continue
		}
		if o := e.incidentOf(other); o != nil && o.fenced() && o.Revoked == "" {
			continue
		}
		since := in.Stages.Proof
		if in.Phase == PhaseInPlace {
			since = in.Return.Seen
		}
		runs, known := e.host(other).runs(e.now, vm.ID, since)
		switch {
		case known && runs:
			return other, fmt.Sprintf("runs on %s, Nova says %s (a %s was under way)", other, in.Host, m.Type)
		case !known:
			e.askGuests(in, other, vm.Name+" may run there")
			return other, fmt.Sprintf("a %s between %s and %s was under way, and no agent of %s says whether it runs there", m.Type, m.Source, m.Dest, other)
		}
	}
	return "", ""
}

// askGuests has a host's agent list its guests now, at most every two seconds for an incident.
func (e *Engine) askGuests(in *Incident, host, why string) {
	if key := "guests/" + host; !e.busy(key) && e.every(in, key, 2*time.Second) {
		e.do(key, Action{Do: AskGuests, Incident: in.ID, Host: host, Why: why})
	}
}

// arrivals are VMs that were on their way to the dead host and that Nova still counts on their source. They belong to
// this incident too: one that had switched over already died here.
func (e *Engine) arrivals(in *Incident, ev Listed) {
	for _, m := range ev.Migrations {
		if m.Dest != in.Host || m.Source == in.Host || m.final() || m.Type == "evacuation" || e.vms[in.ID][m.VM] != nil {
			continue
		}
		r := &Recovery{Incident: in.ID, VM: VM{ID: m.VM, Name: e.nameOf(m.VM), Host: m.Source}}
		e.add(r)
		e.setState(r, Held, fmt.Sprintf("was moving from %s to %s by %s; waiting for %s's agent to say whether it runs there", m.Source, in.Host, m.Type, m.Source))
	}
}

// settleArrivals asks the source's agent about VMs that were on their way to the dead host.
func (e *Engine) settleArrivals(in *Incident) {
	for _, r := range e.recoveries(in) {
		if r.VM.Host == in.Host || r.VM.Host == "" || r.State != Held {
			continue
		}
		if o := e.incidentOf(r.VM.Host); o != nil && o.fenced() && o.Planned && e.vms[o.ID][r.VM.ID] != nil {
			e.setState(r, Skipped, "its source "+r.VM.Host+" died too: incident "+o.ID+" has it")
			continue
		}
		runs, known := e.host(r.VM.Host).runs(e.now, r.VM.ID, in.Stages.Proof)
		switch {
		case known && runs:
			e.setState(r, Skipped, "still runs on "+r.VM.Host)
		case !known:
			e.askGuests(in, r.VM.Host, r.VM.Name+" may run there")
		default:
			e.setState(r, Held, fmt.Sprintf("had moved to %s before it died, Nova says %s: openstack server set --state error, then openstack server rebuild, or reboot it hard on %s",
				in.Host, r.VM.Host, r.VM.Host))
		}
	}
}

func (e *Engine) nameOf(vm string) string {
	for _, h := range e.hosts {
		for _, v := range h.vms {
			if v.ID == vm {
				return v.Name
			}
		}
	}
	return vm
}
