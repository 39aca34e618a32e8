package engine

import (
	"strings"
	"time"

	"pgregory.net/rapid"
)

// disturb does one random thing to the world.
func (m *model) disturb() {
	n := rapid.SampledFrom(m.w.names()).Draw(m.t, "host")
	h := m.w.machines[n]
	what := rapid.SampledFrom([]string{
		"kill", "kill", "cut", "uncut", "boot", "takeover", "answer", "answer", "disarm", "arm", "fail move", "forget", "confirm", "retry", "start", "delete", "nova", "gate", "slow", "slow", "slow", "verb", "verb",
	}).Draw(m.t, "what")
	m.log("WORLD %s %s", what, n)
	switch what {
	case "kill":
		m.w.kill(h)
	case "cut":
		h.cut = true
	case "uncut":
		h.cut = false
	case "boot":
		if h.reads() == "on" || m.e.incidentOf(n) == nil {
			m.w.boots(h) // it restarts by itself
		}
	case "takeover":
		m.takeover()
	case "answer":
		do := rapid.SampledFrom([]Kind{Evacuate, Evacuate, TakeOut, Fence, PowerOn, PutBack, HardReboot}).Draw(m.t, "kind")
		m.w.answers[do] = rapid.SampledFrom([]string{"", "", "lost", "lost-silent", "not-sent", "unanswered", "silent", "refused 409 busy", "doomed", "doomed", "refused 404 gone", "refused 400 no"}).Draw(m.t, "how")
		if do == Fence && strings.HasPrefix(m.w.answers[do], "lost") {
			m.w.answers[do] = "silent"
		}
	case "slow": // answers come when another attempt is under way
		m.slow = time.Duration(rapid.SampledFrom([]int{0, 5, 15, 60, 100}).Draw(m.t, "slow")) * time.Second
		m.w.answers[Evacuate] = "doomed"
	case "disarm", "arm":
		m.step(Asked{ID: "a", By: "op", Verb: Verb(what), Reason: "rehearsal"})
	case "fail move":
		for _, mv := range m.w.moves {
			if mv.Status == "accepted" && !mv.due.IsZero() {
				mv.Status, mv.due = "failed", time.Time{}
			}
		}
	case "forget":
		m.w.answers["hidden"] = "vm1"
	case "confirm":
		if !h.on { // operators are right here
			m.step(Asked{ID: "c", By: "op", Verb: ConfirmDown, Host: n, Reason: "I see it"})
		}
	case "retry":
		if in := m.e.incidentOf(n); in != nil {
			m.step(Asked{ID: "r", By: "op", Verb: RetryIncident, Incident: in.ID})
		}
	case "start": // a user's order that waits in a dead host's queue
		for _, v := range m.w.on(n) {
			if id := v.ID; !h.on {
				h.queue = append(h.queue, func() { m.w.start(id, h) })
				break
			}
		}
	case "gate":
		m.w.answers[SendGate] = rapid.SampledFrom([]string{"", "lost", "not-sent"}).Draw(m.t, "gate")
	case "verb":
		m.anyVerb(n)
	case "nova":
		m.w.answers["nova"] = rapid.SampledFrom([]string{"", "down"}).Draw(m.t, "nova")
	}
}

// anyVerb has an operator say anything at any time, also what makes no sense. Every word is answered, once and in words.
// Operators don't lie here about what is down.
func (m *model) anyVerb(host string) {
	id := ""
	for _, in := range m.e.Incidents() {
		if in.Host == host && rapid.Bool().Draw(m.t, "this incident") {
			id = in.ID
		}
	}
	ev := Asked{
		ID: "v", By: "op", Incident: id, Host: rapid.SampledFrom([]string{host, host, host, "", "nowhere"}).Draw(m.t, "of"),
		Verb:   rapid.SampledFrom([]Verb{Arm, Disarm, ShadowOn, ShadowOff, MaintenanceOn, MaintenanceOff, ConfirmDown, FenceHost, ReadmitHost, RetryIncident, AbortIncident, "dance"}).Draw(m.t, "verb"),
		Zone:   rapid.SampledFrom([]string{"", "", "nova"}).Draw(m.t, "zone"),
		VM:     rapid.SampledFrom([]string{"", "", "vm1", "nothing"}).Draw(m.t, "vm"),
		Reason: rapid.SampledFrom([]string{"because", "because", ""}).Draw(m.t, "reason"),
	}
	if h := m.w.machines[ev.Host]; ev.Verb == ConfirmDown && h != nil && h.on {
		return
	}
	before := len(m.replies)
	m.step(ev)
	if len(m.replies) != before+1 || m.replies[before].Text == "" {
		m.fail("%s was answered %d times: %+v", ev.Verb, len(m.replies)-before, m.replies[before:])
	}
}
