package policy_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/policy"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

func parse(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Each testdata/*.yaml holds mistakes; its *.golden is what the operator sees.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("found %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, err := policy.Parse("policy.yaml", data)
			if err == nil || p != nil {
				t.Fatal("accepted")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got, rewrite with -update):\n%s", diff)
			}
		})
	}
}

const sample = `rules:
  - name: cattle
    match: {tag: cattle}
    on_host_failure: leave
  - name: pets
    match: {tag: [automatic-recovery, pet], zone: az1}
    priority: 900
    on_host_failure: resurrect
    stopped: resurrect
  - name: caches
    match:
      metadata: {role: cache}
      name: "cache-*"
    on_host_failure: rebuild
  - name: windows
    match:
      image_property: {os_type: windows}
      flavor_extra: {"hw:cpu_policy": [dedicated, mixed]}
    priority: 500
    on_host_failure: resurrect
    stopped: leave
  - name: the shop
    match: {project: [shop, 0123456789abcdef0123456789abcdef], aggregate: fast, flavor: m1.large}
    on_host_failure: resurrect
    priority: 0
  - name: everyone else
    on_host_failure: resurrect
`

// plain is a VM of which everything is known and nothing is special.
func plain(change func(*policy.VM)) policy.VM {
	vm := policy.VM{
		ID: "4f1c", Name: "web-1", ProjectID: "ffffffffffffffffffffffffffffffff", ProjectName: "lab", Zone: "az1",
		Aggregates: []string{}, Flavor: "m1.small", FlavorExtra: map[string]string{}, ImageProperties: map[string]string{},
		Metadata: map[string]string{}, Tags: []string{},
	}
	change(&vm)
	return vm
}

func TestFirstMatchDecides(t *testing.T) {
	p := parse(t, sample)
	const (
		auto, leave, start = policy.StoppedAuto, policy.StoppedLeave, policy.StoppedResurrect
	)
	for _, tc := range []struct {
		name string
		vm   policy.VM
		want policy.Decision
	}{
		{"nothing special", plain(func(*policy.VM) {}),
			policy.Decision{Rule: "everyone else", Line: 26, Action: policy.Resurrect, Priority: 100, Stopped: auto, Reason: `rule "everyone else" (policy.yaml:26): matches everyone`}},
		{"leave", plain(func(vm *policy.VM) { vm.Tags = []string{"pet", "cattle"} }),
			policy.Decision{Rule: "cattle", Line: 2, Action: policy.Leave, Priority: 100, Stopped: auto, Reason: `rule "cattle" (policy.yaml:2): tag cattle`}},
		{"one of a list", plain(func(vm *policy.VM) { vm.Tags = []string{"x", "pet"} }),
			policy.Decision{Rule: "pets", Line: 5, Action: policy.Resurrect, Priority: 900, Stopped: start, Reason: `rule "pets" (policy.yaml:5): tag automatic-recovery or pet, zone az1`}},
		{"all keys must hold", plain(func(vm *policy.VM) { vm.Tags = []string{"pet"}; vm.Zone = "az2" }),
			policy.Decision{Rule: "everyone else", Line: 26, Action: policy.Resurrect, Priority: 100, Stopped: auto, Reason: `rule "everyone else" (policy.yaml:26): matches everyone`}},
		{"rebuild", plain(func(vm *policy.VM) { vm.Name = "cache-7"; vm.Metadata = map[string]string{"role": "cache"} }),
			policy.Decision{Rule: "caches", Line: 10, Action: policy.Resurrect, Priority: 100, Rebuild: true, Stopped: auto, Reason: `rule "caches" (policy.yaml:10): name cache-*, metadata role = cache`}},
		{"maps", plain(func(vm *policy.VM) {
			vm.ImageProperties = map[string]string{"os_type": "windows"}
			vm.FlavorExtra = map[string]string{"hw:cpu_policy": "mixed"}
		}),
			policy.Decision{Rule: "windows", Line: 15, Action: policy.Resurrect, Priority: 500, Stopped: leave, Reason: `rule "windows" (policy.yaml:15): flavor_extra hw:cpu_policy = dedicated or mixed, image_property os_type = windows`}},
		{"project by id, aggregate, flavor", plain(func(vm *policy.VM) {
			vm.ProjectID, vm.Aggregates, vm.Flavor = "0123456789abcdef0123456789abcdef", []string{"slow", "fast"}, "m1.large"
		}),
			policy.Decision{Rule: "the shop", Line: 22, Action: policy.Resurrect, Priority: 0, Stopped: auto, Reason: `rule "the shop" (policy.yaml:22): project shop or 0123456789abcdef0123456789abcdef, aggregate fast, flavor m1.large`}},
	} {
		if diff := cmp.Diff(tc.want, p.Decide(tc.vm)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestUnknownFactsNeverMakeBold(t *testing.T) {
	p := parse(t, sample)
	for _, tc := range []struct {
		name   string
		vm     policy.VM
		action policy.Action
		reason string
	}{
		{"a leave rule that can't be evaluated holds", plain(func(vm *policy.VM) { vm.Tags = nil }), policy.Hold,
			`can't tell whether rule "cattle" (policy.yaml:2) matches: tags unknown`},
		{"a resurrect rule that can't be evaluated doesn't raise the priority", plain(func(vm *policy.VM) { vm.Zone = ""; vm.Tags = []string{"pet"} }), policy.Resurrect,
			`rule "everyone else" (policy.yaml:26): matches everyone; can't tell whether rule "pets" (policy.yaml:5) matches: zone unknown`},
		{"a key that fails decides, whatever is unknown besides it", plain(func(vm *policy.VM) { vm.Metadata = nil }), policy.Resurrect,
			`rule "everyone else" (policy.yaml:26): matches everyone`},
		{"a known rule before the doubt decides", plain(func(vm *policy.VM) { vm.Tags = []string{"cattle"}; vm.Metadata = nil }), policy.Leave,
			`rule "cattle" (policy.yaml:2): tag cattle`},
	} {
		d := p.Decide(tc.vm)
		if d.Action != tc.action || d.Reason != tc.reason {
			t.Errorf("%s: got %s: %s", tc.name, d.Action, d.Reason)
		}
		if d.Priority > 100 {
			t.Errorf("%s: priority %d", tc.name, d.Priority)
		}
	}
	doubt := parse(t, "rules:\n  - {name: stay, match: {metadata: {a: b}}, on_host_failure: resurrect, stopped: leave}\n  - {name: all, on_host_failure: rebuild, stopped: resurrect}\n")
	d := doubt.Decide(plain(func(vm *policy.VM) { vm.Metadata = nil }))
	if d.Action != policy.Resurrect || d.Rebuild || d.Stopped != policy.StoppedLeave {
		t.Errorf("the more careful of both must count, got %+v", d)
	}
	optIn := parse(t, "rules:\n  - {name: pets, match: {tag: pet}, on_host_failure: resurrect}\n")
	if d := optIn.Decide(plain(func(vm *policy.VM) { vm.Tags = nil })); d.Action != policy.Hold {
		t.Errorf("a possible pet must be held, not forgotten: %+v", d)
	}
	if d := optIn.Decide(plain(func(*policy.VM) {})); d.Action != policy.Leave || d.Reason != "no rule matches" {
		t.Errorf("got %+v", d)
	}
}

func TestProjectByName(t *testing.T) {
	byName := parse(t, "rules:\n  - {name: shop, match: {project: shop}, on_host_failure: leave}\n  - {name: all, on_host_failure: resurrect}\n")
	byID := parse(t, "rules:\n  - {name: shop, match: {project: 0123456789abcdef0123456789abcdef}, on_host_failure: leave}\n  - {name: all, on_host_failure: resurrect}\n")
	noName := plain(func(vm *policy.VM) { vm.ProjectName = "" })
	if d := byName.Decide(noName); d.Action != policy.Hold {
		t.Errorf("the name is unknown: %+v", d)
	}
	if d := byID.Decide(noName); d.Action != policy.Resurrect {
		t.Errorf("the id says that it isn't this project: %+v", d)
	}
	if d := byID.Decide(plain(func(vm *policy.VM) { vm.ProjectID = "" })); d.Action != policy.Hold {
		t.Errorf("the id is unknown: %+v", d)
	}
	if d := byName.Decide(plain(func(vm *policy.VM) { vm.ProjectName = "shop" })); d.Action != policy.Leave {
		t.Errorf("got %+v", d)
	}
}

func TestTrueInAnyCase(t *testing.T) {
	p := parse(t, "rules:\n  - {name: ha, match: {metadata: {HA_Enabled: true}}, on_host_failure: resurrect}\n")
	for got, want := range map[string]policy.Action{"True": policy.Resurrect, "TRUE": policy.Resurrect, "true": policy.Resurrect, "yes": policy.Leave, "False": policy.Leave} {
		if d := p.Decide(plain(func(vm *policy.VM) { vm.Metadata = map[string]string{"HA_Enabled": got} })); d.Action != want {
			t.Errorf("%s: got %s, want %s", got, d.Action, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	for name, p := range map[string]*policy.Policy{"built-in": policy.Default(), "file without rules": parse(t, "hosts: {}\n")} {
		d := p.Decide(policy.VM{ID: "x"})
		if d.Action != policy.Resurrect || d.Priority != 100 || d.Rebuild || d.Stopped != policy.StoppedAuto {
			t.Errorf("%s: %+v", name, d)
		}
		if p.OnIsolated() != policy.ResponseHold || p.OnDegraded() != policy.ResponseHold || p.OnHung() != policy.ResponseWait ||
			p.StormPercent() != 30 || p.StormCooldown() != time.Minute || p.FencesPerMinute() != 10 || p.RebootWait() != 5*time.Minute ||
			p.Settle() != time.Minute || p.PowerOn() != policy.PowerOnAfterRecovery || p.Sharing(nil, nil) != policy.Detect {
			t.Errorf("%s: other defaults: %+v", name, p)
		}
	}
	var zero policy.Policy
	if d := zero.Decide(policy.VM{}); d.Action != policy.Leave {
		t.Errorf("the zero policy must not act: %+v", d)
	}
	if zero.FencesPerMinute() != 0 || zero.OnHung() == policy.ResponseFence || zero.Sharing(nil, nil) != policy.Local {
		t.Error("the zero policy must not fence or trust a disk")
	}
}

func TestHostsAndSharing(t *testing.T) {
	p := parse(t, "hosts: {on_isolated: fence, on_degraded: fence, on_hung: fence, storm_percent: 10, storm_cooldown: 0, fences_per_minute: 3, reboot_wait: 2m, settle: 3s, power_on: manual}\nephemeral: {default: local, shared_aggregates: [ceph, nfs]}\n")
	if p.OnIsolated() != policy.ResponseFence || p.OnDegraded() != policy.ResponseFence || p.OnHung() != policy.ResponseFence ||
		p.StormPercent() != 10 || p.StormCooldown() != 0 || p.FencesPerMinute() != 3 || p.RebootWait() != 2*time.Minute ||
		p.Settle() != 3*time.Second || p.PowerOn() != policy.PowerOnManual {
		t.Errorf("got %+v", p)
	}
	if p.Sharing([]string{"ceph", "a"}, []string{"a", "ceph"}) != policy.Shared || p.Sharing([]string{"ceph"}, []string{"nfs"}) != policy.Local {
		t.Error("shared_aggregates must hold both hosts in the same aggregate")
	}
}

func TestExplainDiffAndAdvice(t *testing.T) {
	p := parse(t, sample)
	vm := plain(func(vm *policy.VM) { vm.Zone = ""; vm.Tags = []string{"pet"} })
	want := []policy.Step{
		{Rule: "cattle", Line: 2, Match: policy.MatchNo, Why: "not tag cattle"},
		{Rule: "pets", Line: 5, Match: policy.MatchUnknown, Why: "zone unknown"},
		{Rule: "caches", Line: 10, Match: policy.MatchNo, Why: "not name cache-*"},
		{Rule: "windows", Line: 15, Match: policy.MatchNo, Why: "not flavor_extra hw:cpu_policy = dedicated or mixed"},
		{Rule: "the shop", Line: 22, Match: policy.MatchNo, Why: "not project shop or 0123456789abcdef0123456789abcdef"},
		{Rule: "everyone else", Line: 26, Match: policy.MatchYes, Why: "matches everyone"},
	}
	if diff := cmp.Diff(want, p.Explain(vm)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	pet, web := plain(func(vm *policy.VM) { vm.Tags = []string{"pet"} }), plain(func(*policy.VM) {})
	changes := policy.Diff(policy.Default(), p, []policy.VM{web, pet})
	if len(changes) != 1 || changes[0].Old.Priority != 100 || changes[0].New.Priority != 900 || changes[0].VM.Tags[0] != "pet" {
		t.Errorf("got %+v", changes)
	}
	if a := p.Advice(); len(a) != 0 {
		t.Errorf("got %v", a)
	}
	if a := parse(t, "rules:\n  - {name: all, on_host_failure: leave}\n  - {name: pets, match: {tag: pet}, on_host_failure: resurrect}\n").Advice(); len(a) != 1 || a[0].Line != 3 || !strings.Contains(a[0].Message, `rule "all" (line 2) matches everyone`) {
		t.Errorf("got %v", a)
	}
	if a := parse(t, "rules:\n  - {name: pets, match: {tag: pet}, on_host_failure: resurrect}\n").Advice(); len(a) != 1 || !strings.Contains(a[0].Message, "everyone else") {
		t.Errorf("got %v", a)
	}
}

func TestStoredAsText(t *testing.T) {
	for _, p := range []*policy.Policy{parse(t, sample), policy.Default()} {
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back policy.Policy
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if back.Version() != p.Version() || back.Path() != p.Path() || back.Source() != p.Source() {
			t.Errorf("got %s %s", back.Version(), back.Path())
		}
	}
	if parse(t, sample).Version() == parse(t, sample+"\n").Version() {
		t.Error("a changed text must change the version")
	}
	var p policy.Policy
	err := json.Unmarshal([]byte(`{"path":"p.yaml","source":"rulez: 1"}`), &p)
	if err == nil || len(yamlfile.List(err)) != 1 {
		t.Errorf("got %v", err)
	}
	for _, vm := range []policy.VM{{ID: "nothing known"}, plain(func(*policy.VM) {})} {
		data, err := json.Marshal(vm)
		if err != nil {
			t.Fatal(err)
		}
		var back policy.VM
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(vm, back); diff != "" {
			t.Errorf("unknown and empty must stay apart in JSON (-want +got):\n%s", diff)
		}
	}
}
