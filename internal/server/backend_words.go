package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

func summary(in api.IncidentDetail) api.IncidentSummary {
	return api.IncidentSummary{
		ID: in.ID, Host: in.Host, Verdict: in.Verdict, Phase: in.Phase, Since: in.Stages.Verdict,
		Now: goingOn(in), Text: vmsInWords(in), VMs: in.VMs, Unplanned: in.Unplanned, Counts: in.Counts,
	}
}

// goingOn says what an incident is at.
func goingOn(in api.IncidentDetail) string {
	waits := ""
	if len(in.Interlocks) > 0 {
		waits = "waits: " + in.Interlocks[0].Code // the sentence stands below, once
		if n := len(in.Interlocks) - 1; n > 0 {
			waits += fmt.Sprintf(" (and %d more)", n)
		}
	}
	switch in.Phase {
	case engine.PhaseAlert:
		return "needs you: " + in.Reason
	case engine.PhaseOpen:
		return either(waits, "about to be fenced")
	case engine.PhaseFencing:
		text := fmt.Sprintf("being fenced, level %d", in.Fencing.Level+1)
		if in.Fencing.Round > 0 {
			text += fmt.Sprintf(", round %d", in.Fencing.Round+1)
		}
		return join(text, waits)
	case engine.PhaseTakingOut:
		return join("Nova is being told", waits)
	case engine.PhaseResurrecting:
		return join(fmt.Sprintf("resurrecting, %d in flight", in.Counts[engine.Resurrecting]+in.Counts[engine.Verifying]), waits)
	case engine.PhaseInPlace:
		return join("rebooted by itself; its VMs are restarted in place", waits)
	case engine.PhaseRetrying:
		return join("the host is back in service", waits)
	case engine.PhaseRecovered:
		switch {
		case waits != "":
			return "every VM is settled; " + waits
		case in.Return.Boot != "":
			return "every VM is settled; the host is back and must settle"
		case in.Return.PowerOn:
			return "every VM is settled; switched on, not back yet"
		}
		return "every VM is settled; the host comes back when it is switched on"
	}
	return string(in.Phase)
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}

// vmsInWords is the last column of the screen: "16 of 20 back, 1 held: no host sees its disk".
func vmsInWords(in api.IncidentDetail) string {
	switch {
	case in.Unplanned > 0 && in.Phase == engine.PhaseAlert:
		return fmt.Sprintf("%d VMs, left alone", in.Unplanned)
	case in.Unplanned > 0:
		return fmt.Sprintf("%d VMs, not planned yet", in.Unplanned)
	case in.VMs == 0:
		return "none"
	}
	text := fmt.Sprintf("%d of %d back", in.Counts[engine.Recovered], in.VMs)
	for _, s := range []engine.State{engine.Held, engine.Failed, engine.Unaccounted, engine.Skipped} {
		if n := in.Counts[s]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, s)
			if s != engine.Skipped {
				text += because(in.Guests, s)
			}
		}
	}
	return text
}

// because names the commonest reason of VMs in a state, and how many other reasons there are.
func because(guests []engine.Recovery, s engine.State) string {
	count := map[string]int{}
	for _, r := range guests {
		if r.State == s && r.Reason != "" {
			count[r.Reason]++
		}
	}
	if len(count) == 0 {
		return ""
	}
	reasons := make([]string, 0, len(count))
	for r := range count {
		reasons = append(reasons, r)
	}
	slices.SortFunc(reasons, func(a, b string) int { return cmp.Or(count[b]-count[a], strings.Compare(a, b)) })
	text := ": " + reasons[0]
	switch n := len(reasons) - 1; {
	case n == 1:
		text += " (and one other reason)"
	case n > 1:
		text += fmt.Sprintf(" (and %d other reasons)", n)
	}
	return text
}

// forPeople are the interlocks that nothing but an operator ends; the others end by themselves.
func forPeople(code string) bool {
	switch code {
	case engine.LockRevoked, engine.LockUnforced, engine.LockForeign, engine.LockRepeated, engine.LockNoDevice, engine.LockFenceRetry,
		engine.LockAlive, engine.LockPower, engine.LockServer, engine.LockSuperseded, "unprotected":
		return true
	}
	return false
}

// leftOff reports whether nobody has switched the host on: no device of ours will, or the policy leaves it to people.
func leftOff(in engine.IncidentView) bool {
	return in.Phase == engine.PhaseRecovered && !in.Return.PowerOn && in.Return.Boot == ""
}

// waiting is what doesn't go on by itself, in sentences that say what to do.
func waiting(n standing) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if why := n.switches.Disarmed(); why != "" {
		say("%s (ninelives doctor, then ninelives arm)", why)
	}
	for _, in := range n.incidents {
		show := "ninelives incident show " + in.ID
		if in.Phase == engine.PhaseAlert {
			say("%s is %s: %s (%s)", in.Host, in.Verdict, in.Reason, show)
		}
		for _, lock := range in.Interlocks {
			if forPeople(lock.Code) && (lock.Code != engine.LockPower || in.Phase == engine.PhaseRecovered) || lock.Code == engine.LockReturn && leftOff(in.Incident) {
				say("incident %s of %s: %s", in.ID, in.Host, lock.Reason)
			}
		}
		for _, s := range []engine.State{engine.Held, engine.Failed, engine.Unaccounted} {
			if c := in.Counts[s]; c > 0 {
				say("incident %s of %s: %d VMs %s%s (%s)", in.ID, in.Host, c, s, because(in.Guests, s), show)
			}
		}
	}
	return out
}
