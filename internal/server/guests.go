package server

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
)

// guests are the VMs of all hosts at one moment. The engine hands over its lists, which it never changes; to search them
// and to ask the policy of each VM is done here, in the time of who asks: with 200,000 VMs the loop would decide nothing
// for half a second.
type guests struct {
	hosts  []engine.HostGuests // by name
	policy *policy.Policy
}

func (b *backend) guests(ctx context.Context) (guests, error) {
	return see(ctx, b, guestsOf)
}

func guestsOf(r *reign, e *engine.Engine) guests { return guests{e.Guests(), r.policy} }

// page are those of a project ("": of all), by host and id.
func (g guests) page(project string, p api.Page) (out api.Part[api.VM]) {
	host, id, _ := strings.Cut(p.After, "/")
	out.List = []api.VM{}
	for i := range g.hosts {
		h := &g.hosts[i]
		if h.Host < host {
			continue
		}
		for _, vm := range byID(h.VMs) {
			switch {
			case h.Host == host && vm.ID <= id || project != "" && vm.Facts.ProjectID != project && vm.Facts.ProjectName != project:
				continue
			case p.Limit > 0 && len(out.List) == p.Limit:
				last := out.List[len(out.List)-1]
				out.Next = last.Host + "/" + last.ID
				return out
			}
			out.List = append(out.List, g.judged(h, vm))
		}
	}
	return out
}

func byID(vms []engine.VM) []*engine.VM {
	out := make([]*engine.VM, len(vms))
	for i := range vms {
		out[i] = &vms[i]
	}
	slices.SortFunc(out, func(a, b *engine.VM) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// judged is a VM with what the policy says of it. Its host is the one in whose list it stands, by which pages go on.
func (g guests) judged(h *engine.HostGuests, vm *engine.VM) api.VM {
	d := g.policy.Decide(vm.Facts)
	out := api.VM{VM: *vm, Rule: d.Reason, Action: string(d.Action), Priority: d.Priority, Protected: h.Unprotected}
	out.Host = h.Host
	return out
}

// named are the VMs with this id or name.
func (g guests) named(idOrName string) []api.VM {
	var out []api.VM
	for i := range g.hosts {
		h := &g.hosts[i]
		for j := range h.VMs {
			if vm := &h.VMs[j]; vm.ID == idOrName || vm.Name == idOrName {
				out = append(out, g.judged(h, vm))
			}
		}
	}
	return out
}

// all are judged one by one: nobody holds them all.
func (g guests) all() iter.Seq[api.VM] {
	return func(yield func(api.VM) bool) {
		for i := range g.hosts {
			for j := range g.hosts[i].VMs {
				if !yield(g.judged(&g.hosts[i], &g.hosts[i].VMs[j])) {
					return
				}
			}
		}
	}
}

// facts are what policies decide by, of all VMs.
func (g guests) facts() []policy.VM {
	var out []policy.VM
	for _, h := range g.hosts {
		for i := range h.VMs {
			out = append(out, h.VMs[i].Facts)
		}
	}
	return out
}

// explain returns the VMs with this id or name, each with its latest recovery; also those that are known only from one.
func (b *backend) explain(ctx context.Context, idOrName string) ([]api.VM, guests, error) {
	type found struct {
		guests
		stories []engine.Recovery
	}
	f, err := see(ctx, b, func(r *reign, e *engine.Engine) found { return found{guestsOf(r, e), e.Stories(idOrName)} })
	if err != nil {
		return nil, guests{}, err
	}
	out := f.named(idOrName)
	for i := range f.stories {
		story := &f.stories[i]
		known := false
		for j := range out {
			if out[j].ID == story.VM.ID {
				out[j].Story, known = story, true
			}
		}
		if !known {
			out = append(out, api.VM{VM: story.VM, Rule: story.Rule, Priority: story.Priority, Story: story})
		}
	}
	slices.SortFunc(out, func(a, b api.VM) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Host, b.Host)) })
	return out, f.guests, nil
}

// paged cuts a list that is in order of no key: what after names is looked for.
func paged[T any](all []T, p api.Page, name func(*T) string) api.Part[T] {
	at := 0
	if p.After != "" {
		at = 1 + slices.IndexFunc(all, func(v T) bool { return name(&v) == p.After })
	}
	all = all[at:]
	if p.Limit == 0 || len(all) <= p.Limit {
		return api.Part[T]{List: all}
	}
	return api.Part[T]{List: all[:p.Limit], Next: name(&all[p.Limit-1])}
}
