package contract

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

const reason = "ninelives: incident contract"

func (r *run) noPermit(t *testing.T) {
	ctx := r.within(t)
	lapsed := errors.New("permit has lapsed")
	rec, err := r.c.Stop(ctx, cloud.Intent{Permit: func() error { return lapsed }}, r.vms[0])
	if !errors.Is(err, cloud.ErrNotSent) || !errors.Is(err, lapsed) || rec.Sent {
		t.Fatalf("got %v (sent %t), want ErrNotSent with the permit's words", err, rec.Sent)
	}
	if a := r.lastAction(t, r.vms[0]); a.Name != "create" {
		t.Errorf("Nova knows of it: %+v", a)
	}
}

func (r *run) lastAction(t *testing.T, id string) cloud.Action {
	t.Helper()
	actions, err := r.c.Actions(r.within(t), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(actions) == 0 {
		return cloud.Action{}
	}
	return actions[0]
}

// refused checks for a clear no with that status.
func refused(t *testing.T, what string, err error, status int) {
	t.Helper()
	var no *cloud.Refused
	if !errors.As(err, &no) || no.Status != status || no.Message == "" || no.RequestID == "" {
		t.Fatalf("%s: got %v, want to be refused with %d, a message and Nova's request id", what, err, status)
	}
}

func (r *run) evacuateAlive(t *testing.T) {
	_, err := r.c.Evacuate(r.within(t), yes(), r.vms[0], cloud.Evacuate{Host: r.spare})
	refused(t, "evacuate from a living host", err, http.StatusBadRequest)
	list, err := r.c.Migrations(r.within(t), cloud.MigrationQuery{ServerID: r.vms[0]})
	if err != nil || len(list.Migrations) != 0 {
		t.Errorf("migrations of %s: %+v, %v; want none", r.vms[0], list.Migrations, err)
	}
}

func (r *run) power(t *testing.T) {
	ctx, a, b := r.within(t), r.vms[0], r.vms[1]
	for _, s := range []struct {
		what string
		do   func() (cloud.Receipt, error)
		id   string
		then string
	}{
		{"pause", func() (cloud.Receipt, error) { return r.c.Pause(ctx, yes(), a) }, a, "PAUSED"},
		{"reset to error", func() (cloud.Receipt, error) { return r.c.ResetState(ctx, yes(), a, cloud.StateError) }, a, "ERROR"},
		{"reset to active", func() (cloud.Receipt, error) { return r.c.ResetState(ctx, yes(), a, cloud.StateActive) }, a, "ACTIVE"},
		{"hard reboot", func() (cloud.Receipt, error) { return r.c.HardReboot(ctx, yes(), a) }, a, "ACTIVE"},
		{"stop", func() (cloud.Receipt, error) { return r.c.Stop(ctx, yes(), b) }, b, "SHUTOFF"},
		{"start", func() (cloud.Receipt, error) { return r.c.Start(ctx, yes(), b) }, b, "ACTIVE"},
		{"stop again", func() (cloud.Receipt, error) { return r.c.Stop(ctx, yes(), b) }, b, "SHUTOFF"},
	} {
		rec, err := s.do()
		accepted(t, s.what, rec, err)
		r.becomes(t, s.id, s.then)
	}
	_, err := r.c.Start(ctx, yes(), a)
	refused(t, "start what runs", err, http.StatusConflict)
}

func (r *run) takeOut(t *testing.T) {
	ctx := r.within(t)
	r.svc = r.service(t, r.dead)
	if err := r.h.KillHost(ctx, r.dead); err != nil {
		t.Fatalf("cannot kill %s: %v", r.dead, err)
	}
	rec, err := r.c.TakeOut(ctx, yes(), r.svc.ID, cloud.TakeOut{Disable: true, Reason: reason})
	accepted(t, "take out", rec, err)
	r.isOut(t)
	rec, err = r.c.TakeOut(ctx, yes(), r.svc.ID, cloud.TakeOut{})
	accepted(t, "take out again, without disabling", rec, err)
	r.isOut(t) // an operator's reason would have survived too
	if other := r.service(t, r.spare); other.Disabled || other.ForcedDown {
		t.Errorf("%s was hit as well: %+v", r.spare, other)
	}
}

func (r *run) isOut(t *testing.T) {
	t.Helper()
	if s := r.service(t, r.dead); !s.Disabled || s.DisabledReason != reason || !s.ForcedDown || s.State != "down" {
		t.Errorf("service of %s: %+v; want disabled, forced down, and down at once", r.dead, s)
	}
}

func (r *run) evacuate(t *testing.T) {
	ctx := r.within(t)
	list, err := r.c.Migrations(ctx, cloud.MigrationQuery{})
	if err != nil {
		t.Fatal(err)
	}
	r.before = list.Since()
	global := "req-" + uuid.NewString()
	for i, o := range []cloud.Evacuate{{Host: r.spare}, {Stopped: true}} {
		in := yes()
		if i == 0 {
			in.RequestID = global
		}
		rec, err := r.c.Evacuate(ctx, in, r.vms[i], o)
		accepted(t, "evacuate", rec, err)
		if i == 0 && rec.RequestID != global {
			t.Errorf("the request id %s was replaced by %s", global, rec.RequestID)
		}
		a := r.lastAction(t, r.vms[i])
		if a.Name != "evacuate" || a.RequestID != rec.NovaID || a.RequestID == rec.RequestID || a.UserID != r.caps.UserID || a.ProjectID != r.caps.ProjectID {
			t.Errorf("the last action is %+v; want evacuate, Nova's request id %s, user %s", a, rec.NovaID, r.caps.UserID)
		}
	}
}

func (r *run) evacuated(t *testing.T) {
	for i, id := range r.vms {
		r.eventually(t, "evacuation of "+id+" is done", func(ctx context.Context) (bool, string) {
			list, err := r.c.Migrations(ctx, cloud.MigrationQuery{Types: []cloud.MigrationType{cloud.Evacuation}, SourceHost: r.dead, Since: r.before})
			if err != nil {
				return false, err.Error()
			}
			for _, m := range list.Migrations {
				if m.ServerID == id {
					r.record(t, m)
					return m.Status == "done", m.Status
				}
			}
			return false, fmt.Sprintf("%d records, none of it", len(list.Migrations))
		})
		r.becomes(t, id, []string{"ACTIVE", "SHUTOFF"}[i])
		s, err := r.c.Server(r.within(t), id)
		if err != nil || s.Host == r.dead || s.Host == "" || (i == 0 && (s.Host != r.spare || s.PowerState != cloud.PowerRunning)) {
			t.Errorf("after its evacuation: %+v, %v", s, err)
		}
	}
	r.filters(t)
}

func (r *run) record(t *testing.T, m cloud.Migration) {
	t.Helper()
	if m.ID == 0 || len(m.UUID) != 36 || m.Type != cloud.Evacuation || m.Source != r.dead || m.Created.IsZero() {
		t.Errorf("migration: %+v", m)
	}
	if r.caps.Max >= 80 && (m.UserID != r.caps.UserID || m.ProjectID != r.caps.ProjectID) {
		t.Errorf("migration %+v: asked for by user %s of project %s", m, r.caps.UserID, r.caps.ProjectID)
	}
}

// filters checks each way to narrow the list of migrations.
func (r *run) filters(t *testing.T) {
	last, err := r.c.Migrations(r.within(t), cloud.MigrationQuery{ServerID: r.vms[0]})
	if err != nil || last.Since().IsZero() {
		t.Fatalf("Nova's clock can't be known from %+v, %v", last, err)
	}
	for _, tc := range []struct {
		name string
		q    cloud.MigrationQuery
		want bool
	}{
		{"by server", cloud.MigrationQuery{ServerID: r.vms[0]}, true},
		{"by another type", cloud.MigrationQuery{ServerID: r.vms[0], Types: []cloud.MigrationType{cloud.LiveMigration}}, false},
		{"by several types", cloud.MigrationQuery{ServerID: r.vms[0], Types: []cloud.MigrationType{cloud.Resize, cloud.Evacuation}}, true},
		{"by either end: source", cloud.MigrationQuery{Host: r.dead}, true},
		{"by either end: destination", cloud.MigrationQuery{Host: r.spare}, true},
		{"by source: the destination", cloud.MigrationQuery{SourceHost: r.spare}, false},
		{"since the last list", cloud.MigrationQuery{Since: last.Since()}, true},
		{"since tomorrow", cloud.MigrationQuery{Since: last.Since().AddDate(0, 0, 1)}, false},
	} {
		list, err := r.c.Migrations(r.within(t), tc.q)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		got := slices.ContainsFunc(list.Migrations, func(m cloud.Migration) bool {
			return m.ServerID == r.vms[0] && m.Type == cloud.Evacuation && !m.Created.Before(r.before)
		})
		if got != tc.want {
			t.Errorf("%s: found %t, want %t", tc.name, got, tc.want)
		}
	}
}

func (r *run) putBackEarly(t *testing.T) {
	_, err := r.c.PutBack(r.within(t), yes(), r.svc.ID, cloud.PutBack{Enable: true})
	refused(t, "put back while evacuations are done, not completed", err, http.StatusBadRequest)
	r.isOut(t) // refused whole: it isn't enabled either
}

func (r *run) putBack(t *testing.T) {
	if err := r.h.ReturnHost(r.within(t), r.dead); err != nil {
		t.Fatalf("cannot return %s: %v", r.dead, err)
	}
	r.eventually(t, "the evacuations are completed by the returned nova-compute", func(ctx context.Context) (bool, string) {
		for _, id := range r.vms {
			list, err := r.c.Migrations(ctx, cloud.MigrationQuery{ServerID: id, Types: []cloud.MigrationType{cloud.Evacuation}})
			if err != nil || len(list.Migrations) != 1 || list.Migrations[0].Status != "completed" {
				return false, fmt.Sprintf("%+v, %v", list.Migrations, err)
			}
		}
		return true, ""
	})
	r.isOut(t) // its nova-compute runs, but forced down is down
	rec, err := r.c.PutBack(r.within(t), yes(), r.svc.ID, cloud.PutBack{Enable: false})
	accepted(t, "un-force", rec, err)
	if s := r.service(t, r.dead); s.ForcedDown || !s.Disabled || s.DisabledReason != reason {
		t.Errorf("after un-forcing alone: %+v; want still disabled, with its reason", s)
	}
	r.again(t)
	r.eventually(t, "the service is up and enabled", func(context.Context) (bool, string) {
		s := r.service(t, r.dead)
		return s.State == "up" && !s.Disabled && s.DisabledReason == "" && !s.ForcedDown, fmt.Sprintf("%+v", s)
	})
}

// again takes the living host out and puts it back in one request each: both changes must come through.
func (r *run) again(t *testing.T) {
	rec, err := r.c.TakeOut(r.within(t), yes(), r.svc.ID, cloud.TakeOut{Disable: true, Reason: reason})
	accepted(t, "take out", rec, err)
	rec, err = r.c.PutBack(r.within(t), yes(), r.svc.ID, cloud.PutBack{Enable: true})
	accepted(t, "put back and enable in one", rec, err)
}
