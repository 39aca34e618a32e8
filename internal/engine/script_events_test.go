package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// event turns a line into what happens.
func (s *script) event(word string, a []string) error {
	reason := "" // the last word that is no option
	if n := len(a); n > 1 && !strings.Contains(a[n-1], "=") {
		reason = a[n-1]
	}
	var m *machine
	if len(a) > 0 {
		m = s.w.machines[a[0]]
	}
	switch word {
	case "suspect", "up", "verdict", "withdrawn":
		s.assess(word, a, m, reason)
	case "dies":
		s.w.kill(m)
	case "cut":
		m.cut = a[0] != ""
	case "uncut":
		m.cut = false
	case "boots":
		s.w.boots(m)
		s.step(AgentReported{Host: a[0], Report: s.w.report(m)})
	case "opens": // an operator opens its gate by hand
		m.gate, m.byHand = true, true
		s.step(AgentReported{Host: a[0], Report: s.w.report(m)})
	case "ends": // a guest of a host, behind Nova's back
		delete(s.w.machines[a[1]].guests, a[0])
	case "power":
		m.power = a[1]
	case "driver":
		m.facts.Hypervisor = a[1]
		s.step(HostSeen{m.facts})
	case "service":
		m.service.ForcedDown = option(a, "forced", "no") == "yes"
		m.service.Disabled, m.service.DisabledReason = option(a, "disabled", "no") == "yes", option(a, "reason", "")
		m.service.Up, m.service.Fresh = !m.service.ForcedDown, option(a, "fresh", "yes") == "yes"
		m.facts.Service = m.service
		s.step(HostSeen{m.facts})
	case "vm":
		change(s.w, s.w.vms[a[0]], a)
	case "fails": // the evacuation under way
		for _, mv := range s.w.moves {
			if mv.VM == a[0] && mv.Status == "accepted" {
				mv.Status, mv.due = "failed", time.Time{}
			}
		}
	case "forgets": // the message bus, the order of the evacuation under way
		for _, mv := range s.w.moves {
			if mv.VM == a[0] && mv.Status == "accepted" {
				mv.due = time.Time{}
				if len(a) > 1 { // its destination, in the middle of it
					mv.Status = "pre-migrating"
				}
			}
		}
	case "gone":
		delete(s.w.vms, a[0])
	case "guest":
		s.w.machines[a[1]].guests[a[0]] = true
	case "migration":
		s.migration(strings.Split(a[0], "/"))
	case "answer":
		s.w.answers[Kind(a[0])] = strings.Join(a[1:], " ")
	case "ask":
		in := ""
		for _, i := range s.e.open { // the latest one that is open
			if i.Host == option(a, "incident", "") {
				in = i.ID
			}
		}
		s.step(Asked{ID: "ask", By: "admin", Verb: Verb(a[0]), Host: option(a, "host", ""), Zone: option(a, "zone", ""), Incident: in, VM: option(a, "vm", ""), Reason: option(a, "reason", "")})
	case "quorum": // quorum self=h1 members=3 healthy=3 on=h2 lost=yes
		q := QuorumChanged{Self: option(a, "self", ""), On: map[string]string{}, Lost: map[string]bool{}}
		q.Members, _ = strconv.Atoi(option(a, "members", "3"))
		q.Healthy, _ = strconv.Atoi(option(a, "healthy", "3"))
		q.On[option(a, "on", q.Self)] = "server-2"
		q.Lost["server-2"] = option(a, "lost", "") == "yes"
		q.Ahead = Ahead{Of: 3, Epoch: 1 << 30}
		q.Ahead.Hosts, _ = strconv.Atoi(option(a, "ahead", "0"))
		s.step(q)
	case "takeover":
		return s.takeover()
	case "show":
		s.show()
		if len(a) > 0 {
			s.showGates()
		}
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

func (s *script) assess(word string, a []string, m *machine, reason string) {
	life, err := time.ParseDuration(option(a, "life", "2s"))
	if err != nil {
		panic(err)
	}
	ev := Assessed{Host: a[0], Verdict: Up, Boot: option(a, "boot", m.bootID()), Via: option(a, "via", ""), LastLife: s.time().Add(-life), Since: s.time(), Reason: either(reason, word)}
	switch word {
	case "suspect":
		ev.Suspect = true
	case "verdict":
		ev.Verdict = Verdict(a[1])
	case "withdrawn":
		ev.Verdict, ev.Suspect = "", true
	}
	s.step(ev)
}

func (s *script) migration(p []string) {
	mv := &move{Migration: Migration{UUID: "old-" + p[0], VM: p[0], Type: p[1], Status: p[2], Source: p[3], Dest: p[4], User: "ninelives", Created: s.time()}}
	if len(p) > 5 {
		mv.UUID, mv.User = p[5]+"-"+p[0], p[5]
	}
	s.w.moves = slices.DeleteFunc(s.w.moves, func(o *move) bool { return o.UUID == mv.UUID })
	s.w.moves = append(s.w.moves, mv)
}

// takeover kills the leader after its records and before the answers to its acts; another one loads them.
func (s *script) takeover() error {
	s.cfg.Epoch++
	s.cfg.Takeover, s.due = s.time(), nil
	s.e = armed(New(s.cfg, s.policy))
	for _, k := range slices.Sorted(keysOf(s.records)) {
		if err := s.e.Load(k, s.records[k]); err != nil {
			return err
		}
	}
	s.print("     a new leader, epoch %d", s.cfg.Epoch)
	for _, n := range s.w.names() {
		m := s.w.machines[n]
		s.step(HostSeen{m.facts})
		if m.on && !m.cut {
			s.step(AgentReported{Host: n, Report: s.w.report(m)})
			s.step(Assessed{Host: n, Verdict: Up, Boot: m.bootID(), LastLife: s.time(), Since: s.time(), Reason: "pulses"})
		} else {
			s.step(AgentReported{Host: n, Report: AgentReport{Stores: []string{"nfs:shared"}}})
		}
	}
	return nil
}

func keysOf(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
