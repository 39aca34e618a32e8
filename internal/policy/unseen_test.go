package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

const misspelt = `ephemeral: {shared_aggregates: [ceph, ceeph]}
rules:
  - name: pets
    match: {project: nope, zone: noza, flavor: nof}
    on_host_failure: resurrect
  - name: shop
    match:
      aggregate:
        - ceph
        - cehp
      project: [shop, 0123456789abcdef0123456789abcdef]
    on_host_failure: leave
  - {name: rest, on_host_failure: resurrect}
`

func set(names ...string) map[string]bool {
	out := map[string]bool{}
	for _, n := range names {
		out[n] = true
	}
	return out
}

// Values that the cloud has nowhere are noticed, each at its line; what isn't known isn't judged.
func TestValuesThatExistNowhere(t *testing.T) {
	p := parse(t, misspelt)
	seen := policy.Seen{Zones: set("nova"), Aggregates: set("ceph"), Flavors: set("m1.small"), Projects: set("shop", "0123456789abcdef0123456789abcdee"), Named: true}
	want := []policy.Advice{
		{Line: 1, Message: `ephemeral.shared_aggregates names the aggregate "ceeph", in which no host is now; did you mean "ceph"?`},
		{Line: 4, Message: `rule "pets" asks for the project "nope", in which no VM is now`},
		{Line: 4, Message: `rule "pets" asks for the zone "noza", in which no host is now; did you mean "nova"?`},
		{Line: 4, Message: `rule "pets" asks for the flavor "nof", of which no VM is now`},
		{Line: 10, Message: `rule "shop" asks for the aggregate "cehp", in which no host is now; did you mean "ceph"?`},
		{Line: 11, Message: `rule "shop" asks for the project "0123456789abcdef0123456789abcdef", in which no VM is now; did you mean "0123456789abcdef0123456789abcdee"?`},
	}
	if diff := cmp.Diff(want, p.Unseen(seen)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := p.Unseen(policy.Seen{}); len(got) != 0 {
		t.Errorf("nothing is known of the cloud, and it says %v", got)
	}
	got := p.Unseen(policy.Seen{Projects: set("0123456789abcdef0123456789abcdef")})
	if len(got) != 2 || !strings.Contains(got[0].Message, `the project "nope" by its name, and names of projects can't be read`) || !strings.Contains(got[1].Message, `"shop" by its name`) {
		t.Errorf("no project's name is known: %v", got)
	}
	if got := policy.Default().Unseen(seen); len(got) != 0 {
		t.Errorf("the built-in policy names nothing: %v", got)
	}
}

// A policy with very many values that a large cloud doesn't have costs little, and says so in a few lines.
func TestManyValuesThatExistNowhere(t *testing.T) {
	var text strings.Builder
	text.WriteString("rules:\n  - name: a\n    on_host_failure: leave\n    match:\n      project:\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "        - shop-number-%06d-x\n", i)
	}
	projects := map[string]bool{}
	for i := range 20_000 {
		projects[fmt.Sprintf("shop-namber-%06d-y", i)] = true
	}
	p := parse(t, text.String())
	got := p.Unseen(policy.Seen{Projects: projects, Named: true})
	if len(got) != 21 || strings.Contains(got[0].Message, "did you mean") || !strings.Contains(got[20].Message, "4980 more") {
		t.Errorf("got %d: %v", len(got), got[len(got)-1])
	}
}
