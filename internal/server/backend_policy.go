package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/policy"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// Policy implements api.Backend.
func (b *backend) Policy(ctx context.Context) (api.Policy, error) {
	p, err := b.inForce(ctx)
	if err != nil {
		return api.Policy{}, err
	}
	return policyView(p, p.Advice()), nil
}

func (b *backend) inForce(ctx context.Context) (*policy.Policy, error) {
	return see(ctx, b, func(r *reign, _ *engine.Engine) *policy.Policy { return r.policy })
}

func policyView(p *policy.Policy, advice []policy.Advice) api.Policy {
	return api.Policy{Path: p.Path(), Source: p.Source(), Version: p.Version(), Advice: append([]policy.Advice{}, advice...)}
}

// advice is what is allowed and probably not meant: by the text and, where this server leads and has read the cloud, by what
// that has.
func (b *backend) advice(ctx context.Context, p *policy.Policy) []policy.Advice {
	is, err := b.guests(ctx)
	if err != nil {
		return append([]policy.Advice{}, p.Advice()...) // who leads says more
	}
	return b.s.inventory.advice(p, is)
}

func (v *inventory) advice(p *policy.Policy, g guests) []policy.Advice {
	return append(append([]policy.Advice{}, p.Advice()...), p.Unseen(v.seen(g))...)
}

// ApplyPolicy implements api.Backend. The record comes first: a policy in force that nobody has on record would be gone
// with the next leader.
func (b *backend) ApplyPolicy(ctx context.Context, by string, f api.File) (api.Policy, error) {
	b.applies.Lock()
	defer b.applies.Unlock()
	var p *policy.Policy
	_, err := b.act(ctx, by, "policy apply "+f.Path, "", func(ctx context.Context, r *reign) (string, error) {
		var err error
		if p, err = policy.Parse(f.Path, []byte(f.Source)); err != nil {
			return "", mistaken(err)
		}
		value, err := store.Encode(format, p)
		if err != nil {
			return "", err
		}
		if len(value) > store.MaxBytes*3/4 {
			return "", api.Invalid("make it smaller", "the policy is too large to be kept: %d bytes", len(f.Source))
		}
		if _, err := b.s.store.Commit(ctx, r.epoch, store.Put(store.PolicyKey, value)); err != nil {
			return "", err
		}
		r.in.put(engine.PolicyChanged{Policy: p})
		return "policy " + p.Version() + " is in force", nil
	})
	if err != nil {
		return api.Policy{}, err
	}
	// A look after the event was put: when it is answered, the policy is in force.
	if _, err := b.inForce(ctx); err != nil {
		return api.Policy{}, err
	}
	return policyView(p, b.advice(ctx, p)), nil
}

// mistaken shows what is wrong with a file, place by place.
func mistaken(err error) error {
	if m := mistakes(err); len(m) > 0 {
		return api.Mistaken(m)
	}
	return api.Invalid("", "%v", err)
}

func mistakes(err error) []api.Mistake {
	var out []api.Mistake
	for _, e := range yamlfile.List(err) {
		out = append(out, api.Mistake{Path: e.Path, Line: e.Line, Column: e.Column, Message: e.Message, Hint: e.Hint, Snippet: e.Snippet})
	}
	return out
}

// CheckPolicy implements api.Backend; every server can do it.
func (b *backend) CheckPolicy(ctx context.Context, f api.File) (api.PolicyCheck, error) {
	p, err := policy.Parse(f.Path, []byte(f.Source))
	if err != nil {
		m := mistakes(err)
		if len(m) == 0 {
			m = []api.Mistake{{Path: f.Path, Message: err.Error()}}
		}
		return api.PolicyCheck{Mistakes: m, Advice: []policy.Advice{}}, nil
	}
	return api.PolicyCheck{OK: true, Version: p.Version(), Mistakes: []api.Mistake{}, Advice: b.advice(ctx, p)}, nil
}

// DiffPolicy implements api.Backend.
func (b *backend) DiffPolicy(ctx context.Context, f api.File) (api.PolicyDiff, error) {
	p, err := policy.Parse(f.Path, []byte(f.Source))
	if err != nil {
		return api.PolicyDiff{}, mistaken(err)
	}
	is, err := b.guests(ctx)
	if err != nil {
		return api.PolicyDiff{}, err
	}
	vms := is.facts()
	if len(vms) == 0 && b.s.inventory.unread() {
		return api.PolicyDiff{}, b.unlisted()
	}
	changes := append([]policy.Change{}, policy.Diff(is.policy, p, vms)...)
	return api.PolicyDiff{Old: is.policy.Version(), New: p.Version(), VMs: len(vms), Changes: changes, Advice: b.s.inventory.advice(p, is)}, nil
}

// ExplainPolicy implements api.Backend.
func (b *backend) ExplainPolicy(ctx context.Context, vm string) ([]api.PolicyVerdict, error) {
	found, is, err := b.explain(ctx, vm)
	var out []api.PolicyVerdict
	for _, v := range found {
		out = append(out, api.PolicyVerdict{VM: v.Facts, Host: v.Host, Decision: is.policy.Decide(v.Facts), Steps: is.policy.Explain(v.Facts)})
	}
	if err == nil && len(out) == 0 {
		err = b.noVM(vm)
	}
	return out, err
}

// Devices implements api.Backend.
func (b *backend) Devices(ctx context.Context, p api.Page) (api.Part[api.Device], error) {
	if _, err := b.leading(ctx); err != nil {
		return api.Part[api.Device]{}, err // only the leader checks them
	}
	states, more := b.s.fencing.statesAfter(p.After, p.Limit)
	out := api.Part[api.Device]{List: devices(states)}
	if more {
		out.Next = states[len(states)-1].Host
	}
	return out, nil
}

func devices(states []DeviceState) []api.Device {
	out := make([]api.Device, 0, len(states))
	for _, st := range states {
		out = append(out, device(st))
	}
	return out
}

func device(st DeviceState) api.Device {
	h := st.Health
	d := api.Device{
		Host: st.Host, Level: st.Level, Device: st.Device, Driver: st.Driver, Via: st.Via, Bound: st.Bound, Why: st.Why,
		Working: st.Working, Trouble: st.Trouble, Since: st.Since, Power: "unknown", Identity: either(h.Found.UUID, h.Found.Serial), Checked: h.At,
	}
	state, at := h.State, h.At
	if st.Power.At.After(at) {
		state, at = st.Power.State, st.Power.At
	}
	if d.PowerAt = at; state == fence.StateOn || state == fence.StateOff {
		d.Power = string(state)
	}
	if !h.At.IsZero() {
		for _, s := range []struct {
			name string
			f    fence.Finding
		}{{"reach", h.Reach}, {"login", h.Login}, {"privilege", h.Privilege}, {"identity", h.Identity}, {"power", h.Power}} {
			d.Steps = append(d.Steps, api.Step{Name: s.name, Grade: string(s.f.Grade), Words: s.f.Words})
		}
	}
	return d
}

// CheckDevices implements api.Backend.
func (b *backend) CheckDevices(ctx context.Context, hosts []string) ([]api.Device, error) {
	if _, err := b.leading(ctx); err != nil {
		return nil, err
	}
	if len(hosts) == 0 {
		b.s.fencing.checkAll(ctx)
		return devices(b.s.fencing.states()), nil
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	for _, h := range hosts {
		if _, known := b.s.inventory.facts(h); !known && b.s.fencing.of(h) == nil {
			return nil, noHost(h)
		}
		if b.s.fencing.of(h) == nil {
			return nil, api.NotFound("`ninelives fence import FILE` brings devices in", "%s has no fence devices", h)
		}
	}
	out := make([][]DeviceState, len(hosts))
	gate := make(chan struct{}, checksAtOnce)
	var wg sync.WaitGroup
	for i, h := range hosts {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			out[i] = b.s.fencing.check(ctx, h)
		})
	}
	wg.Wait()
	return devices(slices.Concat(out...)), nil
}

// ImportDevices implements api.Backend.
func (b *backend) ImportDevices(ctx context.Context, by string, f api.File) (api.Imported, error) {
	var out api.Imported
	text, err := b.act(ctx, by, "fence import "+f.Path, "", func(ctx context.Context, _ *reign) (string, error) {
		d, err := fence.ParseDevices(f.Path, []byte(f.Source))
		if err != nil {
			return "", mistaken(err)
		}
		if err := b.s.fencing.importDevices(ctx, d); err != nil {
			if errors.Is(err, errNotLeading) || errors.Is(err, store.ErrDeposed) || errors.Is(err, context.Canceled) {
				return "", err
			}
			if m := mistakes(err); len(m) > 0 {
				return "", api.Mistaken(m)
			}
			if b.s.inventory.names() == "" {
				return "", api.Invalid("nothing was changed; import the file again once `ninelives status` shows the hosts and no trouble of the cloud", "%v", err)
			}
			return "", api.Invalid("hosts before this one may have been imported; correct it and import the file again", "%v", err)
		}
		for _, st := range b.s.fencing.states() {
			if _, ours := d.Hosts[st.Host]; ours {
				out.Devices = append(out.Devices, device(st))
			}
		}
		working := 0
		for _, dev := range out.Devices {
			if dev.Working {
				working++
			}
		}
		return fmt.Sprintf("hosts imported: %d; %d of their %d devices could fence now", len(d.Hosts), working, len(out.Devices)), nil
	})
	out.Text = text
	return out, err
}

// BindDevices implements api.Backend.
func (b *backend) BindDevices(ctx context.Context, by, host, reason string) (api.Reply, error) {
	text, err := b.act(ctx, by, "fence bind host "+host, reason, func(ctx context.Context, _ *reign) (string, error) {
		if b.s.fencing.of(host) == nil {
			return "", api.NotFound("`ninelives fence import FILE` brings devices in", "%s has no fence devices", host)
		}
		if err := b.s.fencing.bindByHand(ctx, host, by, reason); err != nil {
			if errors.Is(err, errNotLeading) || errors.Is(err, store.ErrDeposed) {
				return "", err
			}
			return "", api.Conflict("", "%v", err)
		}
		b.s.fencing.check(ctx, host)
		return host + ": its devices are bound", nil
	})
	return api.Reply{Text: text}, err
}
