// Package contract holds what Ninelives relies on in an OpenStack, as one suite that runs against the simulated cloud
// and against a real one. Every call of cloud.Cloud is in it. Where the two differ, the simulator is wrong.
package contract

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
)

// Harness is a cloud to try and the hands to move it.
type Harness struct {
	// Login is an administrator's, with a password.
	Login openstack.Login
	// Hosts are at least two compute hosts that are up, enabled and that nobody else uses meanwhile. The suite kills the first.
	Hosts []string
	// KillHost cuts a host's power: its nova-compute and its guests are gone when it returns.
	KillHost func(ctx context.Context, host string) error
	// ReturnHost powers a host on again; its nova-compute may still be starting when it returns.
	ReturnHost func(ctx context.Context, host string) error
	// BootVM boots a VM, whose name begins so, on that host and returns its id when it is ACTIVE.
	BootVM func(ctx context.Context, name, host string) (id string, err error)
	// DeleteVM deletes a VM, whatever its state.
	DeleteVM func(ctx context.Context, id string) error
	// Patience bounds each wait for something that Nova does in the background. Default 60 s.
	Patience time.Duration
}

// run is one run of the suite: what the steps hand on to each other.
type run struct {
	h      Harness
	c      *openstack.Client
	caps   cloud.Capabilities
	dead   string   // the host that is killed
	spare  string   // where VMs are sent
	vms    []string // [0] runs, [1] is stopped before the host dies
	svc    cloud.Service
	before time.Time // Nova's clock before the evacuations; zero if it can't be known yet
}

// Run runs the suite. Its steps build on each other, so it ends at the first that fails; it then puts the host back and
// deletes its VMs all the same.
func Run(t *testing.T, h Harness) {
	if len(h.Hosts) < 2 {
		t.Fatalf("the contract needs two hosts, got %v", h.Hosts)
	}
	if h.Patience == 0 {
		h.Patience = 60 * time.Second
	}
	c, err := openstack.Open(openstack.Options{Login: &h.Login, Version: "contract"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := &run{h: h, c: c, dead: h.Hosts[0], spare: h.Hosts[1]}
	steps := []struct {
		name string
		step func(*testing.T)
	}{
		{"who we are and what there is", r.capabilities},
		{"wrong logins are told apart", r.wrongLogins},
		{"hosts", r.hosts},
		{"boot", r.boot},
		{"servers", r.servers},
		{"things that don't exist", r.notFound},
		{"no permit, nothing sent", r.noPermit},
		{"a living host's VM can't be evacuated", r.evacuateAlive},
		{"pause, reset, reboot, stop, start", r.power},
		{"take the dead host out", r.takeOut},
		{"evacuate", r.evacuate},
		{"evacuations end", r.evacuated},
		{"put back is refused before nova-compute restarts", r.putBackEarly},
		{"put back", r.putBack},
	}
	t.Cleanup(func() { r.tidy(t) })
	for _, s := range steps {
		if !t.Run(s.name, s.step) {
			return
		}
	}
}

// tidy leaves the cloud as it was found, as far as it can.
func (r *run) tidy(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), r.h.Patience)
	defer cancel()
	for _, id := range r.vms {
		if err := r.h.DeleteVM(ctx, id); err != nil {
			t.Errorf("cannot delete VM %s: %v", id, err)
		}
	}
	if !t.Failed() || r.svc.ID == "" {
		return
	}
	if err := r.h.ReturnHost(ctx, r.dead); err != nil {
		t.Errorf("cannot return %s: %v", r.dead, err)
	}
	if _, err := r.c.PutBack(ctx, yes(), r.svc.ID, cloud.PutBack{Enable: true}); err != nil {
		t.Logf("%s stays out of service: %v", r.dead, err)
	}
}

// yes is an intent whose permit is given.
func yes() cloud.Intent { return cloud.Intent{Permit: func() error { return nil }} }

// within bounds one step's calls.
func (r *run) within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), r.h.Patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually asks until look says that it is so, and fails with the last thing it saw.
func (r *run) eventually(t *testing.T, what string, look func(context.Context) (ok bool, seen string)) {
	t.Helper()
	ctx := r.within(t)
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := look(ctx)
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s; last seen: %s", what, r.h.Patience, seen)
		case <-tick.C:
		}
	}
}

// becomes waits for a server to reach a status, with nothing under way.
func (r *run) becomes(t *testing.T, id, status string) {
	t.Helper()
	r.eventually(t, "server "+id+" becomes "+status, func(ctx context.Context) (bool, string) {
		s, err := r.c.Server(ctx, id)
		return err == nil && s.Status == status && s.TaskState == "", fmt.Sprintf("%s, task %q, %v", s.Status, s.TaskState, err)
	})
}

// accepted checks the receipt of a write that Nova accepted.
func accepted(t *testing.T, what string, rec cloud.Receipt, err error) {
	t.Helper()
	switch {
	case err != nil:
		t.Fatalf("%s: %v", what, err)
	case !rec.Sent:
		t.Fatalf("%s: accepted, but the receipt says it wasn't sent", what)
	case !strings.HasPrefix(rec.RequestID, "req-"):
		t.Fatalf("%s: its own request id is %q", what, rec.RequestID)
	case !strings.HasPrefix(rec.NovaID, "req-"):
		t.Fatalf("%s: Nova's request id is %q", what, rec.NovaID)
	}
}

func nowhere() string { return uuid.NewString() }
