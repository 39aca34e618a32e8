package server

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
)

// many are the VMs of a cloud: some on each host, two projects.
func many(hosts, each int) guests {
	g := guests{policy: policy.Default()}
	for h := range hosts {
		host := engine.HostGuests{Host: fmt.Sprintf("compute-%05d", h)}
		for v := range each {
			n := h*each + (v*7)%each // not in order
			host.VMs = append(host.VMs, engine.VM{ID: uuid(n), Name: fmt.Sprintf("vm-%d", n), Host: host.Host, Facts: policy.VM{ID: uuid(n), ProjectID: fmt.Sprint("p", n%2)}})
		}
		g.hosts = append(g.hosts, host)
	}
	return g
}

// Parts put together are the whole, each VM once, whatever their size; also of one host, of one project.
func TestVMsPageByPage(t *testing.T) {
	g := many(7, 5)
	for _, project := range []string{"", "p1"} {
		whole := g.page(project, api.Page{})
		if want := map[string]int{"": 35, "p1": 17}[project]; len(whole.List) != want || whole.Next != "" {
			t.Fatalf("project %q: %d VMs, next %q; want %d at once", project, len(whole.List), whole.Next, want)
		}
		for limit := 1; limit < 40; limit++ {
			var got []api.VM
			p := api.Page{Limit: limit}
			for parts := 0; ; parts++ {
				part := g.page(project, p)
				if len(part.List) > limit || parts > len(whole.List) {
					t.Fatalf("%d VMs in part %d, want at most %d", len(part.List), parts, limit)
				}
				got = append(got, part.List...)
				if p.After = part.Next; p.After == "" {
					break
				}
			}
			if !slices.EqualFunc(got, whole.List, func(a, b api.VM) bool { return a.ID == b.ID && a.Host == b.Host }) {
				t.Fatalf("project %q, %d at a time: %d VMs in another order or number than %d", project, limit, len(got), len(whole.List))
			}
		}
	}
	if none := (guests{policy: g.policy}).page("", api.Page{}).List; none == nil || len(none) != 0 {
		t.Errorf("of no host: %v, want an empty list", none)
	}
	// The VM, even the host that a part ended with may have gone meanwhile.
	gone := g.page("", api.Page{After: "compute-00002x/" + uuid(3), Limit: 3})
	if len(gone.List) != 3 || gone.List[0].Host != "compute-00003" {
		t.Errorf("after a host that has gone: %+v", gone.List)
	}
}

func TestPartsOfAList(t *testing.T) {
	all := []string{"c", "a", "b"}
	name := func(s *string) string { return *s }
	for _, c := range []struct {
		page api.Page
		want string
	}{
		{api.Page{}, "[c a b] "}, {api.Page{Limit: 2}, "[c a] a"}, {api.Page{After: "a", Limit: 2}, "[b] "}, {api.Page{Limit: 3}, "[c a b] "},
		{api.Page{After: "gone", Limit: 1}, "[c] c"}, {api.Page{After: "b"}, "[] "},
	} {
		part := paged(all, c.page, name)
		if got := fmt.Sprint(part.List, " ", part.Next); got != c.want {
			t.Errorf("%+v: %s, want %s", c.page, got, c.want)
		}
	}
}

// What the API may ask for at any time must not take the time of whoever waits for pulses: 200,000 VMs are looked
// through, and a part of them judged, far within the bar of 200 ms.
func BenchmarkGuests(b *testing.B) {
	g := many(10_000, 20)
	b.Run("page", func(b *testing.B) {
		for b.Loop() {
			g.page("", api.Page{After: "compute-05000/", Limit: 1000})
		}
	})
	b.Run("named", func(b *testing.B) {
		for b.Loop() {
			g.named("vm-199999")
		}
	})
}
