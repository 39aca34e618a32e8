package cli_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
)

// night is when all scripts happen.
var night = time.Date(2026, 3, 1, 2, 14, 45, 0, time.UTC)

// at is a time of that night, before now.
func at(before time.Duration) time.Time { return night.Add(-before) }

// nightly is a cloud with one host down and being recovered.
type nightly struct{ api.Backend }

func (*nightly) Ready(context.Context) error { return nil }

func (*nightly) Status(context.Context) (api.Status, error) {
	return api.Status{
		At: night, Cluster: "mycloud", Server: "server-1", Version: "v0-test", Started: at(time.Hour), Leader: "server-1", Leads: true, Epoch: 42,
		Servers:  api.Servers{Healthy: 3, Of: 3, Quorum: true, Members: []api.Member{{Name: "server-1", Healthy: true, Leader: true}}},
		Switches: engine.Switches{Armed: true},
		Hosts: api.HostCounts{Total: 214, Up: 213, ByVerdict: map[string]int{"up": 213, "off": 1}, Unprotected: 3,
			Reasons: map[string]int{"no agent has joined": 2, "its hypervisor is ironic": 1}},
		Incidents: []api.IncidentSummary{{ID: "7f3a", Host: "compute-07", Verdict: engine.Off, Phase: engine.PhaseResurrecting, Since: at(12 * time.Second),
			Now: "resurrecting, 4 in flight", Text: "16 of 20 back, 1 held: no host sees its disk", VMs: 20, Counts: map[engine.State]int{engine.Recovered: 16, engine.Held: 1, engine.Resurrecting: 3}}},
		Fencing: api.FencingStatus{Hosts: 214, Could: 213, Troubles: []api.FenceTrouble{{Host: "compute-31", Trouble: "BMC login refused", Since: at(3 * time.Minute)}}},
		Cloud:   api.CloudStatus{OK: true},
	}, nil
}

// minority is a server that reaches no majority.
type minority struct{ nightly }

func (*minority) Status(context.Context) (api.Status, error) {
	return api.Status{
		At: night, Cluster: "mycloud", Server: "server-3", Cloud: api.CloudStatus{OK: true}, Partial: "no quorum: 1 of 3 servers answer",
		Hosts: api.HostCounts{Total: 1, Up: 1, ByVerdict: map[string]int{"up": 1}}, WaitingForYou: []string{api.NoQuorum(api.Servers{Healthy: 1, Of: 3})},
		Servers: api.Servers{Healthy: 1, Of: 3, Reason: "1 of 3 servers answer", Members: []api.Member{
			{Name: "server-1", Address: "10.0.0.1:7402", Problem: "doesn't answer: no route to host"}, {Name: "server-2", Address: "10.0.0.2:7402", Problem: "doesn't answer: i/o timeout"}, {Name: "server-3", Healthy: true},
		}},
	}, nil
}

func (m *minority) Members(ctx context.Context) (api.Membership, error) {
	st, err := m.Status(ctx)
	out := api.Membership{Reason: st.Servers.Reason, Leader: "server-1"} // who led is still known as the leader
	for _, x := range st.Servers.Members {
		x.Leader = x.Name == out.Leader
		out.Servers = append(out.Servers, api.ClusterServer{Member: x})
	}
	return out, err
}

func hosts() []api.Host {
	return []api.Host{
		{HostFacts: engine.HostFacts{Name: "compute-07", Zone: "az1", Hypervisor: "QEMU", Service: engine.Service{ID: "s7", Disabled: true, DisabledReason: "ninelives: incident 7f3a", ForcedDown: true}},
			Verdict: engine.Off, Since: at(12 * time.Second), Reason: "BMC 10.9.0.17 read off twice", Evidence: []string{"silent on management for 2.6 s"},
			LastLife: at(15 * time.Second), Boot: "7c1e0000-0000-4000-8000-000000000007", Incident: "7f3a", VMs: 20},
		{HostFacts: engine.HostFacts{Name: "compute-12", Zone: "az1", Hypervisor: "QEMU", Service: engine.Service{ID: "s12", Up: true}, FreeMB: 65536, FreeVCPUs: 24},
			Verdict: engine.Up, Since: at(26 * time.Hour), LastLife: at(time.Second), VMs: 9},
		{HostFacts: engine.HostFacts{Name: "compute-31", Zone: "az2", Hypervisor: "QEMU", Service: engine.Service{ID: "s31", Up: true}},
			Verdict: engine.Up, Since: at(5 * time.Minute), Maintenance: &engine.Maintenance{Reason: "new DIMMs", By: "ana", At: at(time.Hour)}, VMs: 0},
	}
}

func (*nightly) Hosts(context.Context, api.Page) (api.Part[api.Host], error) {
	return api.Part[api.Host]{List: hosts()}, nil
}

func (*nightly) Host(_ context.Context, name string) (api.HostDetail, error) {
	for _, h := range hosts() {
		if h.Name == name {
			return api.HostDetail{
				Host:   h,
				Planes: []api.Plane{{Plane: "management", Address: "10.0.0.17", State: "silent", LastLife: at(15 * time.Second), SilentFor: 14.6, WitnessedBy: []string{"server-1", "compute-12"}}},
				Joined: &api.AgentRecord{Version: "v0-test", Serial: "CZ3107", UUID: "4c4c4544-0042-3510-8052-b4c04f564433"}, Devices: devices()[:1], Guests: vms()[:1],
			}, nil
		}
	}
	return api.HostDetail{}, api.NotFound("ninelives host list", "there is no host %q", name)
}

func devices() []api.Device {
	return []api.Device{
		{Host: "compute-07", Level: 1, Device: "ipmi 10.9.0.17:623", Driver: "ipmi", Bound: true, Why: "its identity is the host's", Working: true, Power: "off", Since: at(24 * time.Hour), Checked: at(20 * time.Second),
			Steps: []api.Step{{Name: "reach", Grade: "ok"}, {Name: "login", Grade: "ok"}}},
		{Host: "compute-31", Level: 1, Device: "ipmi 10.9.0.31:623", Driver: "ipmi", Bound: true, Why: "its identity was the host's when it was last read", Trouble: "login: login refused", Power: "unknown", Since: at(3 * time.Minute), Checked: at(20 * time.Second),
			Steps: []api.Step{{Name: "reach", Grade: "ok"}, {Name: "login", Grade: "failed", Words: "login refused"}, {Name: "power"}}},
	}
}

func (*nightly) Devices(context.Context, api.Page) (api.Part[api.Device], error) {
	return api.Part[api.Device]{List: devices()}, nil
}

func (*nightly) CheckDevices(_ context.Context, hosts []string) ([]api.Device, error) {
	return slices.DeleteFunc(devices(), func(d api.Device) bool { return len(hosts) > 0 && !slices.Contains(hosts, d.Host) }), nil
}

func (*nightly) ImportDevices(_ context.Context, _ string, f api.File) (api.Imported, error) {
	if !strings.Contains(f.Source, "compute-07") {
		return api.Imported{}, api.Mistaken([]api.Mistake{{Path: f.Path, Line: 2, Column: 3, Message: `Nova has no compute host "compute-77"`, Hint: `did you mean "compute-07"?`, Snippet: "      compute-77:\n      ^"}})
	}
	return api.Imported{Text: "1 host imported", Devices: devices()[:1+strings.Count(f.Source, "compute-31:")]}, nil
}

func (*nightly) BindDevices(_ context.Context, by, host, reason string) (api.Reply, error) {
	return api.Reply{Text: fmt.Sprintf("%s: devices bound (%s)", host, reason)}, nil
}

const db1 = "b4c1d2e3-0000-4000-8000-000000000001"

func vms() []api.VM {
	return []api.VM{
		{VM: engine.VM{ID: db1, Name: "db-1", Host: "compute-12", Status: "ACTIVE"}, Rule: `rule "pets" (policy.yaml:4): tag automatic-recovery`, Action: "resurrect", Priority: 900, Story: &engine.Recovery{
			Incident: "7f3a", VM: engine.VM{ID: db1, Name: "db-1", Host: "compute-07"}, State: engine.Recovered, Priority: 900, Order: 1, To: "compute-12", SeenBy: "agent",
			Attempts: []engine.Attempt{{ID: "a1", Target: "compute-12", Intended: at(11500 * time.Millisecond), Answer: engine.Accepted, To: "compute-12", Status: "done", Ended: at(9 * time.Second)}},
			Ended:    at(8200 * time.Millisecond), Log: []engine.Entry{{At: at(11600 * time.Millisecond), Text: "queued"}},
		}},
		{VM: engine.VM{ID: "c0000000-0000-4000-8000-000000000002", Name: "evil\x1b[31m-name", Host: "compute-12", Status: "ACTIVE", Locked: true}, Rule: "no rule matches", Action: "leave"},
	}
}

func (*nightly) VMs(context.Context, string, string, api.Page) (api.Part[api.VM], error) {
	return api.Part[api.VM]{List: vms()}, nil
}
func (*nightly) VM(_ context.Context, name string) ([]api.VM, error) {
	return slices.DeleteFunc(vms(), func(v api.VM) bool { return v.Name != name && v.ID != name }), nil
}

func incident() api.IncidentDetail {
	return api.IncidentDetail{
		Incident: engine.IncidentView{
			Incident: engine.Incident{
				ID: "7f3a", Host: "compute-07", Zone: "az1", Verdict: engine.Off, Reason: "BMC 10.9.0.17 read off twice", Evidence: []string{"BMC 10.9.0.17 read off twice, 1.0 s apart", "silent on management for 2.6 s"},
				Boot: "7c1e0000-0000-4000-8000-000000000007", Phase: engine.PhaseClosed,
				Stages: engine.Stages{LastLife: at(15 * time.Second), Suspect: at(13500 * time.Millisecond), Verdict: at(12400 * time.Millisecond), Proof: at(11900 * time.Millisecond), TakenOut: at(11700 * time.Millisecond), Closed: at(time.Second)},
				Proof:  &engine.Proof{Kind: "power-off", Host: "compute-07", Device: "ipmi 10.9.0.17:623", Readings: []engine.Reading{{State: "off", At: at(13100 * time.Millisecond)}, {State: "off", At: at(12 * time.Second)}}},
				Out:    engine.TakenOut{Done: true, Disabled: true, Forced: true}, Log: []engine.Entry{{At: at(12400 * time.Millisecond), Text: "verdict off: BMC 10.9.0.17 read off twice"}},
			},
			Mode: "NL-101", Counts: map[engine.State]int{engine.Recovered: 1, engine.Held: 1}, VMs: 2,
		},
		Guests: []api.Recovery{*vms()[0].Story, {Incident: "7f3a", VM: engine.VM{ID: "d0000000-0000-4000-8000-000000000003", Name: "web-1"}, State: engine.Held, Reason: "no host sees its disk", Order: 2, Priority: 100}},
	}
}

func (*nightly) Incidents(_ context.Context, state, host string, _ api.Page) (out api.Part[api.Incident], _ error) {
	if state == "closed" || host != "" && host != "compute-07" {
		return out, nil
	}
	out.List = []api.Incident{incident().Incident}
	return out, nil
}

func (*nightly) Incident(_ context.Context, id string) (api.IncidentDetail, error) {
	if id != "7f3a" {
		return api.IncidentDetail{}, api.NotFound("ninelives incident list --state all", "there is no incident %q", id)
	}
	return incident(), nil
}

func (*nightly) Plan(_ context.Context, hosts []string) (api.Plan, error) {
	return api.Plan{
		Hosts: hosts, Seconds: 9, Counts: map[engine.State]int{engine.Queued: 1, engine.Held: 1}, Targets: map[string]int{"compute-31": 1},
		VMs: []engine.ForeseenVM{
			{Order: 1, Name: "db-1", ID: db1, Host: hosts[0], State: engine.Queued, Target: "compute-31", Priority: 900},
			{Order: 2, Name: "web-1", ID: "d", Host: hosts[0], State: engine.Held, Reason: "no host sees its disk", Priority: 100},
		},
	}, nil
}

func (*nightly) Policy(context.Context) (api.Policy, error) {
	return api.Policy{Path: "policy.yaml", Source: "rules: []  # none\n", Version: "abc"}, nil
}

func (*nightly) ApplyPolicy(_ context.Context, _ string, f api.File) (api.Policy, error) {
	return api.Policy{Path: f.Path, Source: f.Source, Version: "def"}, nil
}

func (*nightly) DiffPolicy(_ context.Context, f api.File) (api.PolicyDiff, error) {
	return api.PolicyDiff{Old: "abc", New: "def", VMs: 220, Changes: []policy.Change{{
		VM: policy.VM{ID: db1, Name: "db-1"}, Old: policy.Decision{Action: policy.Resurrect, Priority: 900}, New: policy.Decision{Action: policy.Leave, Reason: `rule "cattle" (policy.yaml:2): tag cattle`},
	}}}, nil
}

func (*nightly) ExplainPolicy(_ context.Context, vm string) ([]api.PolicyVerdict, error) {
	if vm != "db-1" {
		return nil, nil
	}
	return []api.PolicyVerdict{{VM: policy.VM{ID: db1, Name: "db-1"}, Host: "compute-12", Decision: policy.Decision{Action: policy.Resurrect, Priority: 900, Reason: `rule "pets" (policy.yaml:4): tag automatic-recovery`},
		Steps: []policy.Step{{Rule: "cattle", Line: 2, Match: policy.MatchNo, Why: "not tag cattle"}, {Rule: "pets", Line: 4, Match: policy.MatchYes, Why: "tag automatic-recovery"}}}}, nil
}

func (*nightly) Ask(_ context.Context, q engine.Asked) (api.Reply, error) {
	if q.Verb == engine.ConfirmDown && q.Host == "compute-12" {
		return api.Reply{}, api.Conflict("", "compute-12 pulses: it is not down")
	}
	return api.Reply{Text: strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s %s %q", q.Verb, q.Host, q.Zone, q.Incident, q.VM, q.Reason)), " ")}, nil
}

func (*nightly) Arm(_ context.Context, r api.Arming) (api.Reply, error) {
	if !r.Force && !r.Shadow {
		return api.Reply{}, api.Conflict("ninelives doctor tells more; --force arms all the same", "masakari-engine evacuates the same hosts")
	}
	return api.Reply{Text: "armed"}, nil
}

func (*nightly) Members(context.Context) (api.Membership, error) {
	return api.Membership{Quorum: true, Leader: "server-1", Epoch: 42, Format: 1, Servers: []api.ClusterServer{
		{Member: api.Member{Name: "server-1", Address: "10.0.0.1:7402", Healthy: true, Leader: true}, Version: "v0-test", Reads: 1, Agents: []string{"10.0.0.1:7401"}, API: "https://10.0.0.1:7400"},
		{Member: api.Member{Name: "server-2", Address: "10.0.0.2:7402", Problem: "doesn't answer: no route to host"}, Version: "v0-test", Reads: 1},
		{Member: api.Member{Name: "server-3", Address: "10.0.0.3:7402", Healthy: true, Learner: true}},
	}}, nil
}

func (*nightly) RemoveServer(_ context.Context, _, name, _ string) (api.Reply, error) {
	if name != "server-2" {
		return api.Reply{}, api.Conflict("", "cannot remove %s: the servers stay as they are: of the 1 servers that would be left only 0 work", name)
	}
	return api.Reply{Text: name + " is no server of this cluster any more"}, nil
}

func (*nightly) Backup(_ context.Context, _ string, w io.Writer) error {
	text := bytes.Repeat([]byte("records "), 64)
	sum := sha256.Sum256(text)
	_, err := w.Write(append(text, sum[:]...))
	return err
}

func (*nightly) Rejoin(_ context.Context, _, host string) (api.Reply, error) {
	return api.Reply{Text: "another machine may join as " + host}, nil
}

func (*nightly) Token(_ context.Context, _, host string, life time.Duration) (api.Token, error) {
	t := api.Token{Host: host, Token: "id.secret.ca", Expires: night.Add(life)}
	if host == "compute-O7" {
		t.Warning = `Nova has no compute host "compute-O7"`
	}
	return t, nil
}

func (*nightly) Doctor(context.Context) (api.Diagnosis, error) {
	return api.Diagnosis{At: night, Findings: []api.Finding{
		{Severity: api.Refuse, Code: "foreign", Title: "Somebody else evacuates", What: "masakari-engine is there", Do: "stop it", Forbids: true},
		{Severity: api.Refuse, Code: "no-device", Host: "compute-32", Title: "compute-32: no fence device", Do: "import one"}, // as the server names it
		{Severity: api.Warn, Code: "device", Host: "compute-31", Title: "could not be fenced now", What: "BMC login refused", Do: "mend its password"},
	}, Passed: []string{"Our cloud user is an admin"}}, nil
}

func (*nightly) Audit(context.Context, time.Time) ([]api.AuditEntry, error) {
	return []api.AuditEntry{{At: at(time.Hour), Who: "admin", What: "disarm", Reason: "switch firmware", OK: true, Reply: "disarmed"}}, nil
}

// Events tells two and then has no more to say, which is how the stream of a stopping server ends.
func (*nightly) Events(ctx context.Context, after string, send func(api.Event) error) error {
	if after != "" {
		return send(api.Event{ID: "1.3", At: at(0), Severity: "critical", Host: "compute-07", Text: "after the break"})
	}
	for i, text := range []string{"verdict off", "db-1: recovered"} {
		if err := send(api.Event{ID: fmt.Sprintf("1.%d", i+1), At: at(time.Duration(9-i) * time.Second), Severity: "info", Host: "compute-07", Incident: "7f3a", Text: text}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// quiet is a server that knows nothing yet.
type quiet struct{ api.Backend }

func (*quiet) Ready(context.Context) error { return nil }
func (*quiet) Status(context.Context) (api.Status, error) {
	return api.Status{
		At: night, Cluster: "mycloud", Servers: api.Servers{Healthy: 1, Of: 1, Quorum: true}, Leader: "server-1", Epoch: 2,
		Switches: engine.Switches{By: "ana", Reason: "switch firmware", At: at(40 * time.Minute)}, Cloud: api.CloudStatus{Trouble: "Keystone answers 503", Since: at(time.Minute)},
		WaitingForYou: []string{"arm it: ninelives arm"},
	}, nil
}
func (*quiet) Hosts(context.Context, api.Page) (out api.Part[api.Host], _ error) { return out, nil }
func (*quiet) Incidents(context.Context, string, string, api.Page) (out api.Part[api.Incident], _ error) {
	return out, nil
}
func (*quiet) VMs(context.Context, string, string, api.Page) (out api.Part[api.VM], _ error) {
	return out, nil
}
func (*quiet) VM(context.Context, string) ([]api.VM, error)                          { return nil, nil }
func (*quiet) Devices(context.Context, api.Page) (out api.Part[api.Device], _ error) { return out, nil }
func (*quiet) CheckDevices(context.Context, []string) ([]api.Device, error)          { return nil, nil }
func (*quiet) Policy(context.Context) (api.Policy, error) {
	return api.Policy{Version: "built-in"}, nil
}
func (*quiet) Doctor(context.Context) (api.Diagnosis, error)                      { return api.Diagnosis{At: night}, nil }
func (*quiet) Audit(context.Context, time.Time) ([]api.AuditEntry, error)         { return nil, nil }
func (*quiet) ExplainPolicy(context.Context, string) ([]api.PolicyVerdict, error) { return nil, nil }
func (*quiet) Plan(_ context.Context, h []string) (api.Plan, error)               { return api.Plan{Hosts: h}, nil }

// follower is a server that doesn't lead.
type follower struct{ api.Backend }

func (*follower) Ready(context.Context) error { return nil }
func (*follower) Hosts(context.Context, api.Page) (out api.Part[api.Host], _ error) {
	return out, api.NotLeading("server-2", "server-1", "http://127.0.0.1:1")
}
