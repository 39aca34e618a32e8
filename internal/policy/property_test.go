package policy_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

var word = rapid.SampledFrom([]string{"a", "b", "c"})

// drawPolicy writes a policy file with a few rules over few words, so that
// rules overlap.
func drawPolicy(t *rapid.T) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range rapid.IntRange(1, 5).Draw(t, "rules") {
		fmt.Fprintf(&b, "  - name: rule %d\n    on_host_failure: %s\n    priority: %d\n    stopped: %s\n", i,
			rapid.SampledFrom([]string{"resurrect", "leave", "rebuild"}).Draw(t, "action"),
			rapid.IntRange(0, 1000).Draw(t, "priority"),
			rapid.SampledFrom([]string{"auto", "leave", "resurrect"}).Draw(t, "stopped"))
		keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"tag", "project", "zone", "aggregate", "flavor", "flavor_extra", "image_property", "metadata", "name"}), 0, 3, rapid.ID).Draw(t, "keys")
		if len(keys) > 0 {
			b.WriteString("    match:\n")
		}
		for _, k := range keys {
			v := word.Draw(t, "value")
			switch k {
			case "flavor_extra", "image_property", "metadata":
				fmt.Fprintf(&b, "      %s: {k: %s}\n", k, v)
			default:
				fmt.Fprintf(&b, "      %s: [%s, %s]\n", k, v, word.Draw(t, "value"))
			}
		}
	}
	return b.String()
}

func drawVM(t *rapid.T) policy.VM {
	one := func(label string) map[string]string {
		if rapid.Bool().Draw(t, label+" empty") {
			return map[string]string{}
		}
		return map[string]string{"k": word.Draw(t, label)}
	}
	return policy.VM{
		ID: "id", Name: word.Draw(t, "name"), ProjectID: word.Draw(t, "project id"), ProjectName: word.Draw(t, "project"), Zone: word.Draw(t, "zone"),
		Flavor: word.Draw(t, "flavor"), Aggregates: rapid.SliceOfN(word, 0, 2).Draw(t, "aggregates"), Tags: rapid.SliceOfN(word, 0, 2).Draw(t, "tags"),
		FlavorExtra: one("extra"), ImageProperties: one("image"), Metadata: one("metadata"),
	}
}

// hide makes some facts of vm unknown.
func hide(t *rapid.T, vm policy.VM) policy.VM {
	for label, forget := range map[string]func(){
		"name": func() { vm.Name = "" }, "project": func() { vm.ProjectName = "" }, "project id": func() { vm.ProjectID = "" }, "zone": func() { vm.Zone = "" },
		"flavor": func() { vm.Flavor = "" }, "aggregates": func() { vm.Aggregates = nil }, "tags": func() { vm.Tags = nil },
		"extra": func() { vm.FlavorExtra = nil }, "image": func() { vm.ImageProperties = nil }, "metadata": func() { vm.Metadata = nil },
	} {
		if rapid.Bool().Draw(t, "hide "+label) {
			forget()
		}
	}
	return vm
}

var boldness = map[policy.Stopped]int{policy.StoppedLeave: 0, policy.StoppedAuto: 1, policy.StoppedResurrect: 2}

// Hiding facts may hold a VM, but never does to it what the facts forbid, and
// never leaves one that they would bring back.
func TestHiddenFactsNeverChangeTheAction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawPolicy(t)
		p, err := policy.Parse("p.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		vm := drawVM(t)
		full, part := p.Decide(vm), p.Decide(hide(t, vm))
		if full.Action == policy.Hold {
			t.Fatalf("held although everything is known: %+v\n%s", full, text)
		}
		if part.Reason == "" || full.Reason == "" {
			t.Fatal("a decision without a reason")
		}
		if part.Action == policy.Hold {
			return
		}
		if part.Action != full.Action || part.Rebuild && !full.Rebuild || boldness[part.Stopped] > boldness[full.Stopped] {
			t.Fatalf("with all facts %+v, with some hidden %+v\n%s", full, part, text)
		}
	})
}

// What is stored decides as what was parsed, and Explain tells the same story.
func TestStoredPolicyDecidesTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawPolicy(t)
		p, err := policy.Parse("p.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back policy.Policy
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		vm := drawVM(t)
		d := p.Decide(vm)
		if diff := cmp.Diff(d, back.Decide(vm)); diff != "" {
			t.Fatal(diff)
		}
		if n := len(policy.Diff(p, &back, []policy.VM{vm})); n != 0 {
			t.Fatalf("%d differences to itself", n)
		}
		steps := p.Explain(vm)
		if last := steps[len(steps)-1]; (last.Match == policy.MatchYes) != (d.Rule != "") || d.Rule != "" && last.Rule != d.Rule {
			t.Fatalf("Explain ends with %+v, Decide says %+v", last, d)
		}
	})
}

// The glob of `name` agrees with the regular expression that it stands for.
func TestGlob(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.SampledFrom([]rune("ab*?./ä")), 1, 8, -1).Draw(t, "pattern")
		name := rapid.StringOfN(rapid.SampledFrom([]rune("ab./ä")), 1, 8, -1).Draw(t, "name")
		if rapid.Bool().Draw(t, "made to match") {
			var b strings.Builder
			for _, r := range pattern {
				switch r {
				case '*':
					b.WriteString(rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 0, 4, -1).Draw(t, "some"))
				case '?':
					b.WriteString("a")
				default:
					b.WriteRune(r)
				}
			}
			name = b.String()
		}
		if name == "" {
			return // unknown
		}
		quoted := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
		want := regexp.MustCompile(`^` + quoted + `$`).MatchString(name)
		p, err := policy.Parse("p.yaml", fmt.Appendf(nil, "rules:\n  - {name: r, match: {name: %q}, on_host_failure: resurrect}\n", pattern))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Decide(policy.VM{Name: name}).Action == policy.Resurrect; got != want {
			t.Fatalf("%q on %q: got %v, want %v", pattern, name, got, want)
		}
	})
}

// Whatever the text: no panic; what is accepted can be stored, read back and asked.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sample), "web-1")
	f.Add([]byte("rules:\n  - {name: a, match: {name: '*a*?'}, on_host_failure: leave}\n"), "aa")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		p, err := policy.Parse("p.yaml", text)
		if err != nil {
			return
		}
		d := p.Decide(policy.VM{Name: name})
		switch d.Action {
		case policy.Resurrect, policy.Leave, policy.Hold:
		default:
			t.Fatalf("action %q", d.Action)
		}
		if d.Reason == "" || d.Priority < 0 || d.Priority > 1000 || p.FencesPerMinute() < 1 || p.StormPercent() < 1 || p.StormPercent() > 100 {
			t.Fatalf("%+v", d)
		}
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back policy.Policy
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatalf("accepted once, not twice: %v", err)
		}
		if !back.Decide(policy.VM{Name: name}).Same(d) {
			t.Fatal("reads back differently")
		}
	})
}
