package server

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
)

// gatheredCloud has an aggregate.
type gatheredCloud struct{ quietCloud }

func (c *gatheredCloud) Aggregates(context.Context) ([]cloud.Aggregate, error) {
	return []cloud.Aggregate{{Name: "ceph", Hosts: []string{"compute-00"}}, {Name: "empty"}}, nil
}

func (c *gatheredCloud) AllServers(ctx context.Context, yield func(cloud.Server) error) error {
	return c.quietCloud.AllServers(ctx, func(s cloud.Server) error {
		s.Flavor.Name = "m1.small"
		return yield(s)
	})
}

const nowhere = "rules:\n  - name: pets\n    match: {project: 0123456789abcdef0123456789abcdef, zone: noz, flavor: nof, aggregate: [ceph, empty, cehp]}\n    on_host_failure: leave\n  - {name: rest, on_host_failure: resurrect}\n"

// A policy that names what the cloud hasn't: check, diff and apply say so, and doctor does.
func TestPolicyOfThingsThatAreNowhere(t *testing.T) {
	t.Parallel()
	s := led(t, &gatheredCloud{}, Options{})
	b := &backend{s: s}
	waitFor(t, "the cloud has been read", func() bool {
		g, err := b.guests(t.Context())
		seen := s.inventory.seen(g)
		return err == nil && seen.Zones != nil && seen.Aggregates != nil && seen.Flavors != nil
	})
	f := api.File{Path: "p.yaml", Source: nowhere}
	wants := func(what string, advice []policy.Advice) {
		t.Helper()
		text := ""
		for _, a := range advice {
			text += a.Message + "\n"
		}
		for _, want := range []string{`the project "0123456789abcdef0123456789abcdef"`, `the zone "noz"`, `the flavor "nof"`, `the aggregate "empty"`, `the aggregate "cehp", in which no host is now; did you mean "ceph"?`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s doesn't speak of %s:\n%s", what, want, text)
			}
		}
		if len(advice) != 5 {
			t.Errorf("%s has %d pieces of advice, want 5:\n%s", what, len(advice), text)
		}
	}
	check, err := b.CheckPolicy(t.Context(), f)
	if err != nil || !check.OK {
		t.Fatalf("check: %+v, %v", check, err)
	}
	wants("check", check.Advice)
	diff, err := b.DiffPolicy(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	wants("diff", diff.Advice)
	applied, err := b.ApplyPolicy(t.Context(), "admin", f)
	if err != nil {
		t.Fatal(err)
	}
	wants("apply", applied.Advice)
	d, err := b.Doctor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range d.Findings {
		if f.Code == "policy" && f.Severity == api.Warn {
			found++
		}
	}
	if found != 5 || slices.Contains(d.Passed, "The policy says what it seems to say") {
		t.Errorf("doctor has %d findings about the policy, want 5: %+v", found, d)
	}
}

// What hasn't been read isn't known to be nowhere.
func TestNothingIsSaidOfWhatWasNotRead(t *testing.T) {
	v := &inventory{}
	g := guests{hosts: []engine.HostGuests{{Host: "a", VMs: []engine.VM{{Facts: policy.VM{Flavor: "f", ProjectID: "p"}}}}}}
	if s := v.seen(g); s.Zones != nil || s.Aggregates != nil || s.Flavors != nil || s.Projects != nil {
		t.Errorf("nothing was read, and it knows %+v", s)
	}
	v.vms = map[string][]engine.VM{}
	if s := v.seen(guests{}); s.Flavors != nil || s.Projects != nil {
		t.Errorf("there are no VMs, and it knows %+v", s)
	}
	if s := v.seen(g); !s.Flavors["f"] || !s.Projects["p"] || s.Named {
		t.Errorf("got %+v", s)
	}
	g.hosts[0].VMs = append(g.hosts[0].VMs, engine.VM{})
	if s := v.seen(g); s.Flavors != nil || s.Projects != nil {
		t.Errorf("one VM's facts are missing, and it knows %+v", s)
	}
}

// BenchmarkSeen reads 10,000 hosts with 20 VMs each.
func BenchmarkSeen(b *testing.B) {
	v := &inventory{vms: map[string][]engine.VM{}}
	g := many(10_000, 20)
	for b.Loop() {
		v.seen(g)
	}
}
