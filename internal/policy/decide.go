package policy

import (
	"fmt"
	"strings"
)

// Match is whether a rule matches a VM.
type Match string

// The answers. MatchUnknown: it depends on a fact that could not be read.
const (
	MatchYes     Match = "yes"
	MatchNo      Match = "no"
	MatchUnknown Match = "unknown"
)

// Step is one rule's part in a decision, for `policy explain`.
type Step struct {
	Rule  string `json:"rule"`
	Line  int    `json:"line,omitempty"`
	Match Match  `json:"match"`
	Why   string `json:"why"`
}

// matches evaluates all conditions of r. One that fails decides, whatever is
// unknown besides it.
func (r rule) matches(vm VM) (Match, string) {
	if len(r.match) == 0 {
		return MatchYes, "matches everyone"
	}
	var held, missing []string
	for _, c := range r.match {
		switch c.test(vm) {
		case yes:
			held = append(held, c.text)
		case no:
			return MatchNo, "not " + c.text
		default:
			missing = append(missing, c.fact+" unknown")
		}
	}
	if len(missing) > 0 {
		return MatchUnknown, strings.Join(missing, ", ")
	}
	return MatchYes, strings.Join(held, ", ")
}

// Explain evaluates the rules in order, up to and including the first that
// certainly matches.
func (p *Policy) Explain(vm VM) []Step {
	var out []Step
	for _, r := range p.rules {
		m, why := r.matches(vm)
		out = append(out, Step{Rule: r.name, Line: r.line, Match: m, Why: why})
		if m == MatchYes {
			break
		}
	}
	return out
}

// Decide returns what the first matching rule says. A VM that no rule matches
// is left.
//
// If it can't be told whether an earlier rule matches, because a fact is
// unknown, the answer must be right in both cases: where one of them would
// resurrect the VM and the other leave it, it is held until the fact is known;
// where they only differ in what else is allowed (rebuild, start a stopped VM),
// the more careful one counts. An unknown rule never raises the priority.
func (p *Policy) Decide(vm VM) Decision {
	var doubts []rule
	var missing []string
	final, why := rule{action: Leave, stopped: StoppedAuto}, "no rule matches"
	for _, r := range p.rules {
		m, text := r.matches(vm)
		if m == MatchUnknown {
			doubts, missing = append(doubts, r), append(missing, text)
		}
		if m == MatchYes {
			final, why = r, r.where()+": "+text
			break
		}
	}
	d := Decision{
		Rule: final.name, Line: final.line, Action: final.action, Priority: final.priority,
		Rebuild: final.rebuild, Stopped: final.stopped, Reason: why,
	}
	for i, r := range doubts {
		if r.action != final.action {
			return Decision{
				Rule: r.name, Line: r.line, Action: Hold, Priority: final.priority, Stopped: StoppedLeave,
				Reason: fmt.Sprintf("can't tell whether %s matches: %s", r.where(), missing[i]),
			}
		}
		d.Rebuild = d.Rebuild && r.rebuild
		d.Stopped = moreCareful(d.Stopped, r.stopped)
		d.Reason += fmt.Sprintf("; can't tell whether %s matches: %s", r.where(), missing[i])
	}
	return d
}

// moreCareful prefers leaving a stopped VM alone.
func moreCareful(a, b Stopped) Stopped {
	for _, s := range []Stopped{StoppedLeave, StoppedAuto} {
		if a == s || b == s {
			return s
		}
	}
	return a
}

// Change is a VM whose outcome differs between two policies.
type Change struct {
	VM  VM       `json:"vm"`
	Old Decision `json:"old"`
	New Decision `json:"new"`
}

// Diff lists the VMs that would be treated differently under the new policy,
// in the order of vms. A different rule with the same outcome is no change.
func Diff(old, new *Policy, vms []VM) []Change {
	var out []Change
	for _, vm := range vms {
		a, b := old.Decide(vm), new.Decide(vm)
		if !a.Same(b) {
			out = append(out, Change{VM: vm, Old: a, New: b})
		}
	}
	return out
}
