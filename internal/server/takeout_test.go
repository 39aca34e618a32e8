package server

import (
	"context"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// serviced has one service, and keeps how it was taken out and put back.
type serviced struct {
	cloud.Cloud
	service cloud.Service
	taken   *cloud.TakeOut
	back    *cloud.PutBack
}

func (c serviced) Service(context.Context, string) (cloud.Service, error) { return c.service, nil }

func (c serviced) TakeOut(_ context.Context, _ cloud.Intent, _ string, o cloud.TakeOut) (cloud.Receipt, error) {
	*c.taken = o
	return cloud.Receipt{}, nil
}

func (c serviced) PutBack(_ context.Context, _ cloud.Intent, _ string, o cloud.PutBack) (cloud.Receipt, error) {
	*c.back = o
	return cloud.Receipt{}, nil
}

// An operator may disable a service after it was last read; our own reason must not take the place of theirs.
func TestTakeOutLeavesAnOperatorsDisabling(t *testing.T) {
	for reason, theirs := range map[string]bool{"": false, "disk swap": true, engine.Ours + "d00f": false} {
		var taken cloud.TakeOut
		c := serviced{service: cloud.Service{Disabled: reason != "", DisabledReason: reason}, taken: &taken}
		r := &reign{s: bare(t, c, Options{})}
		a := engine.Action{ID: "1.1", Do: engine.TakeOut, Host: "h1", Service: "s1", Disable: true, Why: engine.Ours + "beef"}
		ev, ok := r.perform(t.Context(), a, &flight{r: r}).(engine.Answered)
		if !ok || ev.Answer != engine.Accepted || ev.Theirs != theirs || taken.Disable == theirs || (taken.Reason == "") != theirs {
			t.Errorf("disabled with reason %q: taken out by %+v, %+v; expected it to be left: %t", reason, taken, ev, theirs)
		}
	}
}

// The same when a host is taken back: what an operator has disabled isn't enabled.
func TestPutBackLeavesAnOperatorsDisabling(t *testing.T) {
	for reason, theirs := range map[string]bool{"disk swap": true, engine.Ours + "beef": false} {
		var back cloud.PutBack
		c := serviced{service: cloud.Service{Disabled: true, DisabledReason: reason, ForcedDown: true}, back: &back}
		r := &reign{s: bare(t, c, Options{})}
		a := engine.Action{ID: "1.1", Do: engine.PutBack, Host: "h1", Service: "s1", Disable: true, Force: true}
		ev, ok := r.perform(t.Context(), a, &flight{r: r}).(engine.Answered)
		if !ok || ev.Answer != engine.Accepted || ev.Theirs != theirs || back.Enable == theirs {
			t.Errorf("disabled with reason %q: put back by %+v, %+v; expected it to be left: %t", reason, back, ev, theirs)
		}
	}
}
