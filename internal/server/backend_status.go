package server

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// maxTroubles bounds a list of the status screen; the counts beside it are of all.
const maxTroubles = 50

// standing is what the engine knows of how things stand.
type standing struct {
	hosts     api.HostCounts
	protected []string             // hosts
	incidents []api.IncidentDetail // open ones
	switches  engine.Switches
	zones     map[string]engine.Maintenance
	times     []api.SafetyTime

	superseded string // why nothing is done: another cluster leads the hosts
}

// Status implements api.Backend.
func (b *backend) Status(ctx context.Context) (api.Status, error) {
	s := b.s
	l := s.leadership()
	st := api.Status{
		At: time.Now(), Cluster: clusterName(s.cfg), Server: s.cfg.Name, Version: s.o.Version, Started: s.started,
		Leader: l.LeaderName, Leads: s.reign.Load() != nil, Epoch: int64(l.Epoch), Cloud: b.cloudStatus(),
		Incidents: []api.IncidentSummary{}, WaitingForYou: []string{}, Interlocks: []api.HeldBy{},
	}
	st.Servers, st.Leader, st.Epoch = b.servers(ctx, st.Leader, st.Epoch)
	st.LeaderURL = s.cards.get(st.Leader).API
	now, err := b.stands(ctx, st.Servers, st.Leader)
	if err != nil && !st.Servers.Quorum && !st.Servers.Electing {
		st.WaitingForYou = append(st.WaitingForYou, api.NoQuorum(st.Servers)) // it speaks of another cluster, too
	} else {
		st.WaitingForYou = append(st.WaitingForYou, b.twoClusters(st.Servers)...)
	}
	if err != nil {
		st.Partial = err.Error()
		st.Hosts, st.Times = b.hostsFromHere(), safetyTimes(s.times)
		st.Fencing = api.FencingStatus{Troubles: []api.FenceTrouble{}}
		return st, nil
	}
	st.Switches, st.Zones = now.switches, now.zones
	st.Hosts = now.hosts
	st.Times = append(safetyTimes(s.times), now.times...)
	for _, in := range now.incidents {
		st.Incidents = append(st.Incidents, summary(in))
		for _, lock := range in.Interlocks {
			st.Interlocks = append(st.Interlocks, api.HeldBy{Incident: in.ID, Host: in.Host, Interlock: lock})
		}
	}
	slices.Sort(now.protected)
	st.Fencing = s.fencing.status(now.protected)
	st.WaitingForYou = append(st.WaitingForYou, waiting(now)...)
	st.WaitingForYou = append(st.WaitingForYou, st.Servers.Alarms...)
	if now.superseded != "" {
		st.WaitingForYou = append(st.WaitingForYou, "nothing is done: "+now.superseded)
	}
	return st, nil
}

// stands is what the leader knows. Why it isn't known here follows from how the servers stand, which has just been asked.
func (b *backend) stands(ctx context.Context, servers api.Servers, leader string) (standing, error) {
	if b.s.reign.Load() == nil && !b.s.leadership().Leader {
		return standing{}, b.elsewhere(servers, leader)
	}
	return see(ctx, b, stand)
}

func stand(r *reign, e *engine.Engine) standing {
	n := standing{superseded: e.Superseded(), hosts: api.HostCounts{ByVerdict: map[string]int{}, Reasons: map[string]int{}}}
	e.EachHost(n.count)
	n.switches, n.zones = e.Switches()
	for _, in := range e.Incidents() {
		if in.Phase == engine.PhaseClosed {
			continue
		}
		d := api.IncidentDetail{Incident: in}
		if in.Counts[engine.Held]+in.Counts[engine.Failed]+in.Counts[engine.Unaccounted] > 0 {
			_, d.Guests, _ = e.Incident(in.ID) // they are copied: only those whose reasons are told
		}
		n.incidents = append(n.incidents, d)
	}
	n.times = []api.SafetyTime{
		{Name: "reboot_wait", Seconds: r.policy.RebootWait().Seconds()}, {Name: "settle", Seconds: r.policy.Settle().Seconds()},
		{Name: "storm_cooldown", Seconds: r.policy.StormCooldown().Seconds()},
	}
	return n
}

func (b *backend) servers(ctx context.Context, leader string, epoch int64) (api.Servers, string, int64) {
	is := b.s.store.Status(ctx)
	out := api.Servers{Of: len(is.Members), Quorum: is.Quorum, Electing: is.Electing(), Reason: is.QuorumReason, Members: membersOf(is.Members), Alarms: is.Alarms}
	for _, m := range is.Members {
		if m.Healthy {
			out.Healthy++
		}
	}
	if old := b.s.outdated.Load(); old != nil {
		out.Alarms = append(out.Alarms, *old)
	}
	if is.Epoch != 0 {
		epoch = int64(is.Epoch)
	}
	leader = either(leader, is.Leader)
	if slices.ContainsFunc(is.Members, func(m store.Member) bool { return m.Name == leader && !m.Healthy }) {
		leader = "" // nobody else is known yet
	}
	return out, leader, epoch
}

func memberOf(m store.Member) api.Member {
	return api.Member{Name: m.Name, Address: m.Address, Healthy: m.Healthy, Learner: m.Learner, Problem: m.Problem, Foreign: m.Foreign, Leader: m.Leader}
}

func membersOf(list []store.Member) []api.Member {
	out := make([]api.Member, 0, len(list))
	for _, m := range list {
		out = append(out, memberOf(m))
	}
	return out
}

// twoClusters says what is seen of another one: by this server now, by the leader when it last looked.
func (b *backend) twoClusters(servers api.Servers) []string {
	var strangers []api.Member
	if r := b.s.reign.Load(); r != nil {
		if last := r.roster.Load(); last != nil {
			strangers = last.strangers
		}
	}
	var out []string
	for _, c := range otherClusters(servers.Members, strangers) {
		out = append(out, c.text())
	}
	return out
}

func (b *backend) cloudStatus() api.CloudStatus {
	trouble, since := b.s.inventory.troubled()
	st := api.CloudStatus{OK: trouble == "", Trouble: trouble, Since: since}
	if caps, ok := b.s.inventory.capabilities(); ok {
		st.Region, st.Microversion = caps.Region, caps.Max.String()
	} else if st.OK {
		st.OK, st.Trouble = false, "it hasn't been read yet"
	}
	return st
}

// hostsFromHere counts what a server that doesn't lead has seen itself.
func (b *backend) hostsFromHere() api.HostCounts {
	b.s.ears.mu.Lock()
	snap := b.s.ears.detector.Snapshot(time.Now())
	b.s.ears.mu.Unlock()
	c := api.HostCounts{ByVerdict: map[string]int{}, Reasons: map[string]int{}, Suspect: snap.Suspects}
	for v, n := range snap.Verdicts {
		c.ByVerdict[v.String()] = n
		c.Total += n
	}
	c.Up = max(0, snap.Verdicts[detect.Up]-snap.Suspects)
	return c
}

// count takes one host in.
func (n *standing) count(h engine.HostView) {
	c := &n.hosts
	c.Total++
	c.ByVerdict[either(string(h.Verdict), "unknown")]++
	switch {
	case h.Suspect:
		c.Suspect++
	case h.Verdict == engine.Up || h.Verdict == engine.Rebooted:
		c.Up++
	}
	if h.Maintenance != nil {
		c.Maintenance++
	}
	if h.Unprotected == "" {
		n.protected = append(n.protected, h.Name)
		return
	}
	c.Unprotected++
	c.Reasons[unnamed(h.Unprotected, h.Name)]++
}

// unnamed takes a host's name out of a sentence, so that the same trouble of many hosts reads the same.
func unnamed(text, name string) string {
	var out strings.Builder
	for len(text) > 0 {
		end := strings.IndexAny(text, " ,;:()")
		word, rest := text, ""
		if end >= 0 {
			word, rest = text[:end], text[end:]
		}
		if word == name {
			word = "HOST"
		}
		out.WriteString(word)
		if rest != "" {
			out.WriteByte(rest[0])
			rest = rest[1:]
		}
		text = rest
	}
	return out.String()
}

// status says which of these hosts could be fenced now: all devices of at least one level work.
func (f *fencing) status(protected []string) api.FencingStatus {
	out := api.FencingStatus{Hosts: len(protected), Troubles: []api.FenceTrouble{}}
	trouble := func(t api.FenceTrouble) {
		if len(out.Troubles) < maxTroubles {
			out.Troubles = append(out.Troubles, t)
		}
	}
	levels, broken := map[int]bool{}, map[int]bool{}
	f.each(protected, func(host string, states []DeviceState) {
		clear(levels)
		clear(broken)
		for i := range states {
			st := &states[i]
			levels[st.Level] = true
			if !st.Working {
				broken[st.Level] = true
				trouble(api.FenceTrouble{Host: host, Device: st.Device, Trouble: st.Trouble, Since: st.Since})
			}
		}
		if len(levels) == 0 {
			trouble(api.FenceTrouble{Host: host, Trouble: "it has no fence device (ninelives fence import FILE)"})
		}
		if len(levels) > len(broken) {
			out.Could++
		}
	})
	return out
}

func safetyTimes(t detect.Times) []api.SafetyTime {
	var out []api.SafetyTime
	for _, x := range []struct {
		name string
		d    time.Duration
	}{
		{"pulse", t.Pulse}, {"suspect", t.Suspect}, {"dead_two_planes", t.DeadTwoPlanes}, {"dead_one_plane", t.DeadOnePlane},
		{"agent_down", t.AgentDownAfter}, {"hung_after", t.HungAfter}, {"leaving", t.Leaving}, {"storm_window", t.StormWindow},
		{"reconnect_wave", t.ReconnectWave}, {"permit", t.Permit}, {"request_ttl", t.RequestTTL},
	} {
		out = append(out, api.SafetyTime{Name: x.name, Seconds: x.d.Seconds()})
	}
	return out
}
