package engine

import (
	"maps"
	"slices"
)

// show prints how everything stands.
func (s *script) show() {
	for _, in := range s.e.Incidents() {
		_, rs, _ := s.e.Incident(in.ID)
		locks := ""
		for _, l := range in.Interlocks {
			locks += " " + l.Code
		}
		s.print("%s %s%s", in.Host, in.Phase, locks)
		for _, r := range rs {
			s.print("  %s %s %s", r.VM.Name, r.State, s.plain(r.Reason))
		}
	}
}

// showGates prints what the machines' agents refuse, and what runs there all the same.
func (s *script) showGates() {
	for _, n := range s.w.names() {
		if m := s.w.machines[n]; len(m.forbidden) > 0 {
			s.print("gate of %s: open=%v forbidden=%v; it runs %v", n, m.gate, m.forbidden, slices.Sorted(maps.Keys(m.guests)))
		}
	}
}
