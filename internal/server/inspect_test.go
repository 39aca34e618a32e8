package server

import (
	"context"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// deleting answers as Nova does of a server whose records are gone, or hidden by a cell that doesn't answer.
type deleting struct {
	cloud.Cloud
	there bool
}

func (deleting) Actions(context.Context, string) ([]cloud.Action, error) {
	return nil, cloud.ErrNotFound
}

func (d deleting) Server(context.Context, string) (cloud.Server, error) {
	if d.there {
		return cloud.Server{Status: "UNKNOWN"}, nil
	}
	return cloud.Server{}, cloud.ErrNotFound
}

// A VM deleted while its evacuation is unanswered takes its instance actions with it: waiting for them would keep the
// incident for ever. But actions that can't be read of a server that is there say nothing.
func TestInspectDeleted(t *testing.T) {
	for there, want := range map[bool]bool{false: false, true: true} {
		v := &inventory{cloud: deleting{there: there}}
		ev, ok := v.inspect(t.Context(), engine.Action{ID: "1.1", Do: engine.Inspect, VM: "a"}).(engine.Inspected)
		if !ok || ev.Evacuations != 0 || (ev.Err != "") != want {
			t.Errorf("server there %t: %+v; expected an error: %t", there, ev, want)
		}
	}
}
