package demo

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// Result is what became of a script. Its JSON is for programs, and keeps its shape.
type Result struct {
	Incidents  []Incident        `json:"incidents"`
	DoubleRuns int               `json:"double_runs"` // from the world's truth
	VMsDown    int               `json:"vms_down"`    // protected VMs of cut and frozen hosts that run nowhere in truth
	HostStates map[string]string `json:"host_states"` // of the hosts that were named

	// Reason says why the exit code isn't 0.
	Reason string `json:"-"`
	// Code is the exit code.
	Code int `json:"-"`
}

// The exit codes of a script.
const (
	ExitRecovered = 0 // every protected VM of cut and frozen hosts is back, none ever ran twice
	ExitLost      = 1 // one is lost or ran twice, or it took too long
	ExitHeld      = 3 // something is held, with its reason in interlocks
)

// Incident is one failure as the server saw it. Times are seconds since the fault, 0 for what never came.
type Incident struct {
	ID      string         `json:"id"`
	Host    string         `json:"host"`
	Verdict engine.Verdict `json:"verdict"`
	// Phase is recovered from the moment every VM is settled; whether the host is back is in host_states.
	Phase      engine.Phase `json:"phase"`
	Proof      *Proof       `json:"proof"`
	Stages     Stages       `json:"stages"`
	VMs        VMs          `json:"vms"`
	Interlocks []Interlock  `json:"interlocks"`
}

// Proof is why the host's VMs were certain to be gone.
type Proof struct {
	Kind   string `json:"kind"`
	Device string `json:"device"`
}

// Stages are seconds since the fault.
type Stages struct {
	Suspect     float64 `json:"suspect_s"`
	Verdict     float64 `json:"verdict_s"`
	Proof       float64 `json:"proof_s"`
	Resurrected float64 `json:"resurrected_s"` // when the last VM ran again in truth
}

// VMs counts an incident's VMs.
type VMs struct {
	Total     int `json:"total"`
	Recovered int `json:"recovered"`
	Skipped   int `json:"skipped"`
	Held      int `json:"held"`
	Failed    int `json:"failed"`
}

// Interlock is a reason why something waits: one of the incident's, or of a VM that is held.
type Interlock struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

func incidentOf(d api.IncidentDetail, h hit, resurrected time.Time) Incident {
	in := Incident{
		ID: d.ID, Host: d.Host, Verdict: d.Verdict, Phase: d.Phase, Interlocks: []Interlock{},
		VMs: VMs{
			Total: d.VMs, Recovered: d.Counts[engine.Recovered], Skipped: d.Counts[engine.Skipped],
			Held: d.Counts[engine.Held] + d.Counts[engine.Unaccounted], Failed: d.Counts[engine.Failed],
		},
		Stages: Stages{
			Suspect: since(h.at, d.Stages.Suspect), Verdict: since(h.at, d.Stages.Verdict), Proof: since(h.at, d.Stages.Proof),
			Resurrected: since(h.at, resurrected),
		},
	}
	if in.Phase == engine.PhaseClosed && d.Aborted == "" && d.Proof != nil {
		in.Phase = engine.PhaseRecovered
	}
	if !d.Planned && d.Phase != engine.PhaseAlert && len(d.Interlocks) > 0 { // Nova isn't asked for them before there is a proof
		in.VMs = VMs{Total: len(h.vms), Held: len(h.vms)}
	}
	if d.Proof != nil {
		in.Proof = &Proof{Kind: d.Proof.Kind, Device: d.Proof.Device}
	}
	for _, l := range d.Interlocks {
		in.Interlocks = append(in.Interlocks, Interlock{l.Code, l.Reason})
	}
	for _, r := range d.Guests {
		switch r.State {
		case engine.Held, engine.Failed, engine.Unaccounted:
			in.Interlocks = append(in.Interlocks, Interlock{string(r.State), r.VM.Name + ": " + r.Reason})
		}
	}
	return in
}

// since is the seconds from a to b, to the millisecond; 0 when either never was.
func since(a, b time.Time) float64 {
	if a.IsZero() || b.IsZero() {
		return 0
	}
	return float64(b.Sub(a).Milliseconds()) / 1000
}

// result puts together what the server says and what is true.
func (d *Demo) result(incidents []api.IncidentDetail, named []string, stuck string) Result {
	hits, world := d.truth.hits(), d.truth.now()
	r := Result{Incidents: []Incident{}, DoubleRuns: len(world.doubles), HostStates: map[string]string{}}
	latest := map[string]api.IncidentDetail{}
	skipped := map[string]bool{}
	for _, in := range incidents {
		h := hits[in.Host]
		vms := slices.Clone(h.vms)
		for _, g := range in.Guests {
			vms = append(vms, g.VM.ID)
			skipped[g.VM.ID] = skipped[g.VM.ID] || g.State == engine.Skipped
		}
		var back time.Time
		if in.Counts[engine.Recovered] > 0 {
			back = d.truth.lastStart(vms, h.at)
		}
		r.Incidents = append(r.Incidents, incidentOf(in, h, back))
		if old, ok := latest[in.Host]; !ok || in.Stages.Verdict.After(old.Stages.Verdict) {
			latest[in.Host] = in
		}
	}
	slices.SortFunc(r.Incidents, func(a, b Incident) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID)) })
	for _, h := range hits {
		for _, id := range h.vms {
			if world.down[id] && !skipped[id] {
				r.VMsDown++
			}
		}
	}
	for _, name := range named {
		r.HostStates[name] = stateOf(world.hosts[name], latest[name])
	}
	r.judge(hits, world, latest, stuck)
	return r
}

// judge finds the exit code and its reason, the worst first.
func (r *Result) judge(hits map[string]hit, world standing, latest map[string]api.IncidentDetail, stuck string) {
	fail := func(code int, format string, args ...any) {
		if r.Reason == "" {
			r.Code, r.Reason = code, fmt.Sprintf(format, args...)
		}
	}
	if len(world.doubles) > 0 {
		fail(ExitLost, "a VM ran twice: %s", world.doubles[0])
	}
	if len(world.lost) > 0 {
		fail(ExitLost, "a VM lost its data: %s", world.lost[0].Why)
	}
	if stuck != "" {
		fail(ExitLost, "%s", stuck)
	}
	for _, in := range r.Incidents {
		if len(in.Interlocks) > 0 && (in.Phase != engine.PhaseRecovered || in.VMs.Held+in.VMs.Failed > 0) {
			fail(ExitHeld, "%s is held: %s", in.Host, in.Interlocks[0].Reason)
		}
	}
	for host, h := range hits {
		if _, ok := latest[host]; !ok && !h.mayStand {
			fail(ExitLost, "%s was hit, and nobody opened an incident", host)
		}
	}
	if r.VMsDown > 0 {
		fail(ExitLost, "%d VMs are down, and nothing holds them", r.VMsDown)
	}
}

// stateOf is one word for a host.
func stateOf(m machineState, in api.IncidentDetail) string {
	acted := in.ID != "" && in.Proof != nil
	switch {
	case in.ID != "" && !in.Return.Readmitted.IsZero() && m.on && !m.frozen:
		return "readmitted"
	case acted && (!m.on || m.frozen):
		return "fenced"
	case acted && m.forcedDown:
		return "returning"
	case !m.on:
		return "dead"
	case m.frozen:
		return "frozen"
	case m.isolated:
		return "isolated"
	case !m.booted || !m.compute:
		return "booting"
	}
	return "up"
}

// Table writes the result for people.
func (r Result) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "INCIDENT\tHOST\tVERDICT\tPHASE\tPROOF\tSUSPECT\tVERDICT\tPROOF\tRESURRECTED\tVMS")
	for _, in := range r.Incidents {
		proof := "none"
		if in.Proof != nil {
			proof = in.Proof.Kind + " " + in.Proof.Device
		}
		vms := fmt.Sprintf("%d of %d back", in.VMs.Recovered, in.VMs.Total)
		if in.VMs.Total == 0 {
			vms = "none to bring back"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", in.ID, in.Host, in.Verdict, in.Phase, proof,
			seconds(in.Stages.Suspect), seconds(in.Stages.Verdict), seconds(in.Stages.Proof), seconds(in.Stages.Resurrected), vms)
	}
	if len(r.Incidents) == 0 {
		fmt.Fprintln(w, "none")
	} else {
		fmt.Fprintln(w, "Seconds since the fault. RESURRECTED: the last VM ran again in truth; Nova's records and our look at it follow.")
	}
	for _, in := range r.Incidents {
		for _, l := range in.Interlocks {
			fmt.Fprintf(w, "\n%s waits: %s\n", in.Host, l.Reason)
		}
	}
	fmt.Fprintln(w)
	for _, h := range slices.Sorted(maps.Keys(r.HostStates)) {
		fmt.Fprintf(w, "%s is %s.\n", h, r.HostStates[h])
	}
	fmt.Fprintf(w, "In truth: %d protected VMs down, %d ran twice.\n", r.VMsDown, r.DoubleRuns)
	return w.Flush()
}

func seconds(s float64) string {
	if s == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", s)
}
