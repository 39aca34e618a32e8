package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/policy"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// healthy is a cloud of twelve hosts with nothing to complain about.
func healthy() *patient {
	p := &patient{
		vms: slices.Values([]engine.InventoryVM(nil)),
		at:  noon, started: noon.Add(-time.Hour), policy: policy.Default(), switches: engine.Switches{Armed: true}, agents: map[string]AgentRecord{},
		caps: cloud.Capabilities{
			Min: 1, Max: 96, UserID: "u1", User: "ninelives", Project: "service", Roles: []string{"admin"},
			Endpoints: map[string]string{"identity": "i", "compute": "c", "placement": "p", "image": "g"},
		},
		diskFree: 50 << 30, diskSize: 100 << 30, dbInUse: 1 << 20, dbQuota: 2 << 30, dataDir: "/var/lib/ninelives",
		certificates: []certificate{{what: "the API's certificate", file: "api.crt", until: noon.Add(200 * 24 * time.Hour)}},
		times:        []api.SafetyTime{{Name: "pulse", Seconds: 1}},
		servers:      []api.Member{{Name: "server-1", Healthy: true, Leader: true}, {Name: "server-2", Healthy: true}, {Name: "server-3", Address: "10.0.0.3:7402", Healthy: true}},
	}
	for i := range 12 {
		name := fmt.Sprintf("compute-%02d", i)
		p.hosts = append(p.hosts, engine.HostView{HostFacts: engine.HostFacts{Name: name, Zone: "az1"}, Verdict: engine.Up})
		p.agents[name] = AgentRecord{Host: name}
		for level := range 2 {
			p.devices = append(p.devices, DeviceState{Host: name, Level: level + 1, Device: fmt.Sprint("d", level), Driver: "ipmi", Working: true, Bound: true})
		}
	}
	return p
}

func (p *patient) lose(server int, problem string) {
	p.servers[server].Healthy, p.servers[server].Problem = false, problem
}

// What one check has said, and what can't be said at all, isn't said by another.
func TestDoctorSaysAServerOnce(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*patient)
		not    string
	}{
		"one of another cluster isn't down":                  {func(p *patient) { p.lose(2, "x"); p.servers[2].Foreign = true }, "server"},
		"a single server has no quorum to lose":              {func(p *patient) { p.servers = p.servers[:1] }, "quorum"},
		"the quorum of another etcd isn't ours":              {func(p *patient) { p.lose(1, "x"); p.external = true }, "quorum"},
		"one of five is down":                                {func(p *patient) { p.servers = append(p.servers, p.servers[:2]...); p.lose(2, "x") }, "quorum"},
		"a stranger that is none (nobody answers) isn't one": {func(p *patient) { p.strangers = []api.Member{{Name: "server-9"}} }, "two-clusters"},
	} {
		p := healthy()
		c.change(p)
		if all := diagnose(p).Findings; slices.ContainsFunc(all, func(f api.Finding) bool { return f.Code == c.not }) {
			t.Errorf("%s: %+v", what, all)
		}
	}
}

func TestDoctorFindsNothingWhereNothingIs(t *testing.T) {
	d := diagnose(healthy())
	for _, f := range d.Findings {
		if f.Severity != api.Tell {
			t.Errorf("a healthy cloud: %+v", f)
		}
	}
	for _, c := range checks() {
		if c.right != "" && !slices.Contains(d.Passed, c.right) {
			t.Errorf("a healthy cloud, and it doesn't say: %s", c.right)
		}
	}
}

// Nothing found where nothing could be looked at is not right.
func TestDoctorPassesNothingUnseen(t *testing.T) {
	p := healthy()
	p.cloudErr, p.hosts, p.agents, p.devices, p.switches, p.servers = cloud.ErrUnavailable, nil, nil, nil, engine.Switches{}, nil
	want := []string{"The policy says what it seems to say", "There is room on the disk and in the database", "No certificate ends soon", "The clock runs evenly"}
	if got := diagnose(p).Passed; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDoctor(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*patient)
		code     string
		severity string
		says     []string
		forbids  bool
	}{
		{"Keystone is away", func(p *patient) { p.cloudErr = fmt.Errorf("dial: %w", cloud.ErrUnavailable) }, "cloud-unreachable", api.Refuse, []string{"dial"}, true},
		{"wrong password", func(p *patient) { p.cloudErr = fmt.Errorf("401: %w", cloud.ErrUnauthorized) }, "cloud-login", api.Refuse, []string{"password"}, true},
		{"an old Nova", func(p *patient) { p.caps.Max = 72 }, "nova-old", api.Refuse, []string{"2.72", "2.79"}, false},
		{"no Placement", func(p *patient) { p.caps.Endpoints["placement"] = "" }, "endpoint-missing", api.Warn, []string{"placement"}, false},
		{"no Nova", func(p *patient) { p.caps.Endpoints["compute"] = "" }, "endpoint-missing", api.Refuse, []string{"compute"}, false},
		{"aggregates unreadable", func(p *patient) { p.aggregatesErr = errors.New("500") }, "cloud-partly", api.Warn, []string{"aggregates", "500"}, false},
		{"evacuations unreadable", func(p *patient) { p.evacuationsErr = errors.New("500") }, "evacuations-unread", api.Refuse, []string{"another service", "500"}, true},
		{"no admin", func(p *patient) { p.caps.Roles = []string{"member", "reader"} }, "role", api.Refuse, []string{"member, reader", "role add"}, false},
		{"Masakari in the catalogue", func(p *patient) { p.caps.Endpoints["instance-ha"] = "http://m" }, "masakari", api.Refuse, []string{"http://m"}, true},
		{"Masakari's reason", func(p *patient) { p.hosts[3].Service.DisabledReason = "Masakari detected host failed." }, "masakari-disabled", api.Refuse, []string{"compute-03"}, true},
		{"instanceha's reason", func(p *patient) { p.hosts[4].Service.DisabledReason = "instanceha evacuation: 2026-02-28T01:00:00" }, "instanceha-disabled", api.Refuse, []string{"compute-04"}, true},
		{"somebody evacuates", func(p *patient) {
			p.evacuations = []cloud.Migration{{UserID: "u2"}, {UserID: "u1"}, {UserID: "u2"}, {}}
		}, "others-evacuate", api.Refuse, []string{"u2", "2 VMs"}, true},
		{"marked VMs", func(p *patient) {
			p.vms = slices.Values([]engine.InventoryVM{{VM: engine.VM{Facts: policy.VM{Metadata: map[string]string{"HA_Enabled": "True"}}}}})
		}, "others-conventions", api.Warn, []string{"1 VMs"}, false},
		{"marked aggregates", func(p *patient) {
			p.aggregates = []cloud.Aggregate{{Name: "gold", Metadata: map[string]string{"evacuable": "true", "instanceha:max_failures": "2"}}}
		}, "others-conventions", api.Warn, []string{"gold (evacuable)"}, false},
		{"a server is down", func(p *patient) { p.lose(2, "doesn't answer") }, "server", api.Warn, []string{"server-3", "10.0.0.3:7402: doesn't answer", "systemctl start", "ninelives cluster replace server-3"}, false},
		{"one of three is down", func(p *patient) { p.lose(2, "doesn't answer") }, "quorum", api.Warn, []string{"No further server", "2 of 3", "2 are needed", "bring the missing"}, false},
		{"two of two", func(p *patient) { p.servers = p.servers[:2] }, "quorum", api.Warn, []string{"2 of 2", "server join"}, false},
		{"a learner is no voter", func(p *patient) { p.servers[2].Learner = true }, "quorum", api.Warn, []string{"2 of 2"}, false},
		{"a server on another etcd", func(p *patient) { p.lose(2, "doesn't renew its lease in etcd"); p.external = true }, "server", api.Warn, []string{"renew", "cluster remove server-3"}, false},
		{"a restored server elsewhere", func(p *patient) { p.lose(2, "belongs to another cluster (7)"); p.servers[2].Foreign = true }, "two-clusters", api.Refuse, []string{"server-3 (10.0.0.3:7402)", "restored", "server join", "cluster replace"}, true},
		{"old servers elsewhere", func(p *patient) {
			p.servers, p.strangers = p.servers[:1], []api.Member{{Name: "server-2", Address: "10.0.0.2:7402", Foreign: true}, {Name: "server-3", Address: "10.0.0.3:7402", Foreign: true}}
		}, "two-clusters", api.Refuse, []string{"server-2 (10.0.0.2:7402), server-3 (10.0.0.3:7402)", "cluster.initial", "move etcd", "server join"}, true},
		{"superseded", func(p *patient) { p.superseded = "2 of 3 hosts have heard of epoch 9" }, "superseded", api.Refuse, []string{"epoch 9"}, true},
		{"no hosts", func(p *patient) { p.hosts = nil }, "no-hosts", api.Refuse, []string{"region"}, false},
		{"unprotected hosts are one line", func(p *patient) {
			for i := range 3 {
				p.hosts[i].Unprotected = "it has no agent (ninelives token create " + p.hosts[i].Name + ")"
			}
		}, "unprotected", api.Warn, []string{"3 hosts (compute-00, compute-01, compute-02)", "token create HOST"}, false},
		{"guests resume", func(p *patient) { p.agents["compute-05"] = AgentRecord{Nova: NovaFacts{Resume: true}} }, "resume-guests", api.Refuse, []string{"compute-05", "resume_guests_state_on_host_boot"}, true},
		{"libvirt-guests", func(p *patient) { p.agents["compute-05"] = AgentRecord{Nova: NovaFacts{GuestsBoot: true}} }, "libvirt-guests", api.Refuse, []string{"ON_BOOT"}, true},
		{"autostart", func(p *patient) {
			p.agents["compute-05"] = AgentRecord{Nova: NovaFacts{Autostart: []string{"instance-0007"}}}
		}, "autostart", api.Refuse, []string{"instance-0007"}, true},
		{"no device", func(p *patient) {
			p.devices = slices.DeleteFunc(p.devices, func(s DeviceState) bool { return s.Host == "compute-06" })
		}, "no-device", api.Refuse, []string{"compute-06", "confirm-down"}, false},
		{"a device fails", func(p *patient) { p.devices[2].Working, p.devices[2].Trouble = false, "login: refused" }, "device", api.Refuse, []string{"compute-01", "login: refused"}, false},
		{"a BMC alone", func(p *patient) { p.devices = p.devices[:1] }, "bmc-alone", api.Tell, []string{"compute-00", "PDU"}, false},
		{"an emulated TPM", func(p *patient) {
			p.vms = slices.Values([]engine.InventoryVM{{VM: engine.VM{Immovable: "it has an emulated TPM"}}, {VM: engine.VM{Immovable: "it has an emulated TPM"}}})
		}, "immovable", api.Warn, []string{"2 VMs", "emulated TPM"}, false},
		{"a rule in doubt", func(p *patient) {
			p.vms = slices.Values([]engine.InventoryVM{{Action: string(policy.Hold), Rule: "can't tell whether rule gold matches: image properties unknown"}})
		}, "rule-unknown", api.Warn, []string{"gold"}, false},
		{"a policy with advice", func(p *patient) {
			p.advice = []policy.Advice{{Line: 3, Message: "rule \"never\" never decides"}}
		}, "policy", api.Warn, []string{":3: rule \"never\""}, false},
		{"two zones of one host", func(p *patient) { p.hosts[0].Zone = "edge" }, "storm", api.Tell, []string{"12 protected", "edge"}, false},
		{"one host", func(p *patient) { p.hosts = p.hosts[:1] }, "one-host", api.Warn, nil, false},
		{"disk nearly full", func(p *patient) { p.diskFree = 900 << 20 }, "disk", api.Warn, []string{"900 of"}, false},
		{"disk full", func(p *patient) { p.diskFree = 10 << 20 }, "disk", api.Refuse, []string{"10 of"}, false},
		{"disk unknown", func(p *patient) { p.diskErr = errors.New("EIO") }, "disk", api.Warn, []string{"EIO"}, false},
		{"database nearly full", func(p *patient) { p.dbInUse = p.dbQuota * 9 / 10 }, "database", api.Warn, nil, false},
		{"database alarm", func(p *patient) { p.alarms = []string{"NOSPACE: …"} }, "database-alarm", api.Refuse, []string{"NOSPACE"}, false},
		{"certificate ends soon", func(p *patient) { p.certificates[0].until = noon.Add(10 * 24 * time.Hour) }, "certificate", api.Warn, []string{"10 days"}, false},
		{"certificate expired", func(p *patient) { p.certificates[0].until = noon.Add(-time.Hour) }, "certificate", api.Refuse, []string{"Expired"}, false},
		{"certificate unreadable", func(p *patient) { p.certificates[0] = certificate{what: "x", err: errors.New("EACCES")} }, "certificate", api.Warn, []string{"EACCES"}, false},
		{"the clock jumped back", func(p *patient) { p.jumped = -5 * time.Second }, "clock", api.Warn, []string{"-5s"}, false},
		{"disarmed", func(p *patient) { p.switches = engine.Switches{By: "admin", Reason: "network works"} }, "disarmed", api.Warn, []string{"network works"}, false},
		{"shadow", func(p *patient) { p.switches.Shadow = true }, "shadow", api.Warn, nil, false},
		{"contradiction", func(p *patient) { p.hosts[7].Verdict = engine.Contradiction }, "contradiction", api.Refuse, []string{"compute-07"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := healthy()
			c.change(p)
			all := diagnose(p).Findings
			i := slices.IndexFunc(all, func(f api.Finding) bool { return f.Code == c.code })
			if i < 0 {
				t.Fatalf("no finding %q among %+v", c.code, all)
			}
			f := all[i]
			text := f.Title + " " + f.What + " " + f.Do
			for _, s := range c.says {
				if !strings.Contains(text, s) {
					t.Errorf("%q isn't in %q", s, text)
				}
			}
			if f.Severity != c.severity || f.Forbids != c.forbids {
				t.Errorf("severity %s forbids %v, want %s %v", f.Severity, f.Forbids, c.severity, c.forbids)
			}
			if f.Severity != api.Tell && f.Do == "" {
				t.Errorf("it doesn't say what to do: %+v", f)
			}
			for j := range all[:i] {
				if all[j].Severity == api.Tell && f.Severity != api.Tell {
					t.Errorf("%s stands before %s", all[j].Code, f.Code)
				}
			}
		})
	}
}

// The screen's words, on incidents that stand still for every reason there is.
func TestStatusInWords(t *testing.T) {
	guests := []engine.Recovery{
		{State: engine.Held, Reason: "no host sees its disk"}, {State: engine.Held, Reason: "no host sees its disk"},
		{State: engine.Held, Reason: "SUSPENDED"}, {State: engine.Recovered}, {State: engine.Resurrecting},
	}
	in := api.IncidentDetail{Guests: guests, Incident: api.Incident{
		Incident: engine.Incident{ID: "7f3a00", Host: "compute-07", Verdict: engine.Off, Phase: engine.PhaseResurrecting},
		VMs:      5, Counts: map[engine.State]int{engine.Held: 3, engine.Recovered: 1, engine.Resurrecting: 1},
	}}
	s := summary(in)
	if want := "1 of 5 back, 3 held: no host sees its disk (and one other reason)"; s.Text != want {
		t.Errorf("got %q, want %q", s.Text, want)
	}
	if want := "resurrecting, 1 in flight"; s.Now != want {
		t.Errorf("got %q, want %q", s.Now, want)
	}
	in.Interlocks = []engine.Interlock{{Code: engine.LockRevoked, Reason: "the proof was contradicted"}, {Code: engine.LockNova, Reason: "Nova is away"}}
	n := standing{switches: engine.Switches{Armed: true}, incidents: []api.IncidentDetail{in}}
	got := strings.Join(waiting(n), "\n")
	if !strings.Contains(got, "the proof was contradicted") || strings.Contains(got, "Nova is away") || !strings.Contains(got, "3 VMs held") {
		t.Errorf("waiting for you:\n%s", got)
	}
	off := api.IncidentDetail{Incident: api.Incident{Incident: engine.Incident{ID: "7f3a01", Host: "compute-08", Phase: engine.PhaseRecovered,
		Interlocks: []engine.Interlock{{Code: engine.LockReturn, Reason: "it comes back when somebody starts it"}}}}}
	on := off
	on.Return.PowerOn = true
	n.incidents = []api.IncidentDetail{off, on}
	if w := waiting(n); len(w) != 1 || !strings.Contains(w[0], "somebody starts it") {
		t.Errorf("a host that nobody switches on waits for people, one that was switched on doesn't: %q", w)
	}
	if w := waiting(standing{switches: engine.Switches{Armed: true}}); len(w) != 0 {
		t.Errorf("nothing waits, got %q", w)
	}
	for text, want := range map[string]string{
		"it has no agent (ninelives token create c1)": "it has no agent (ninelives token create HOST)",
		"c1, c10 and xc1: c1":                         "HOST, c10 and xc1: HOST",
		"":                                            "",
	} {
		if got := unnamed(text, "c1"); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestFencingStatusCountsWholeLevels(t *testing.T) {
	n := standing{hosts: api.HostCounts{ByVerdict: map[string]int{}, Reasons: map[string]int{}}}
	for name, why := range map[string]string{"a": "", "b": "", "c": "", "d": "no agent"} {
		n.count(engine.HostView{HostFacts: engine.HostFacts{Name: name, Unprotected: why}})
	}
	slices.Sort(n.protected)
	f := newFencing(&Server{log: discard()}, nil)
	declare := func(host string, levels ...[]DeviceState) {
		m := &machine{health: map[string]DeviceState{}}
		for _, level := range levels {
			var devices []fence.Device
			for _, st := range level {
				devices = append(devices, &plug{id: st.Device})
				m.health[st.Device] = st
			}
			m.levels = append(m.levels, devices)
		}
		f.machines[host] = m
	}
	declare("a", []DeviceState{{Device: "bmc", Trouble: "login: refused"}}, []DeviceState{{Device: "pdu", Working: true}})
	declare("b", []DeviceState{{Device: "psu1", Working: true}, {Device: "psu2", Trouble: "away"}})
	got := f.status(n.protected)
	if got.Hosts != 3 || got.Could != 1 || len(got.Troubles) != 3 {
		t.Errorf("%+v; want 3 hosts, 1 (a, by its second level) fenceable, 3 troubles (a's bmc, b's psu2, c's lack)", got)
	}
}

// The power that is shown is the latest reading, whoever made it; the login that fails is told once for all readings.
func TestTheLatestReadingIsShown(t *testing.T) {
	s := bare(t, &quietCloud{}, Options{})
	d := &plug{id: "bmc"}
	checked := time.Now()
	m := &machine{levels: [][]fence.Device{{d}}, health: map[string]DeviceState{"bmc": {Host: "a", Device: "bmc", Health: fence.Health{At: checked, State: fence.StateOn}}}}
	s.fencing.install("a", m)
	s.fencing.saw(m, "bmc", fence.Reading{State: fence.StateOff, At: checked.Add(-time.Second)})
	if got := device(s.fencing.states()[0]); got.Power != "on" || !got.PowerAt.Equal(checked) {
		t.Errorf("before: %+v", got)
	}
	s.fencing.saw(m, "bmc", fence.Reading{State: fence.StateOff, At: checked.Add(time.Second)})
	if got := device(s.fencing.states()[0]); got.Power != "off" || !got.PowerAt.After(checked) || !got.Checked.Equal(checked) {
		t.Errorf("after a fence: %+v", got)
	}
	if got := device(DeviceState{Health: fence.Health{At: checked, State: fence.StateOn}}); got.Power != "on" { // as a check answers
		t.Errorf("just checked: %+v", got)
	}
	login := &cloud.LoginError{Err: errors.New("Keystone doesn't accept admin")}
	for _, what := range []string{"VMs", "aggregates", "services"} {
		s.inventory.tell(t.Context(), what, fmt.Errorf("cannot list %s: %w", what, login))
	}
	if got, _ := s.inventory.troubled(); got != login.Error() {
		t.Errorf("the trouble is %q", got)
	}
}
