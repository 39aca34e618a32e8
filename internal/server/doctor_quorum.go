package server

import (
	"fmt"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// checkClusters: two clusters for the same hosts would each fence them and bring their VMs back.
func checkClusters(p *patient) []api.Finding {
	const title = "There are two clusters for the same hosts"
	var out []api.Finding
	for _, c := range otherClusters(p.servers, p.strangers) {
		out = append(out, forbidding("two-clusters", title, c.what, c.do)...)
	}
	if p.superseded != "" {
		out = append(out, forbidding("superseded", title, p.superseded, "stop this server and the others of its cluster; `ninelives cluster list` names them")...)
	}
	return out
}

// checkServers names those that don't answer; one of another cluster is checkClusters'.
func checkServers(p *patient) []api.Finding {
	var out []api.Finding
	for _, m := range p.servers {
		if m.Healthy || m.Foreign {
			continue
		}
		do := fmt.Sprintf("start it (systemctl start ninelives-server), or mend its network; if it is lost for good: ninelives cluster replace %s, then join another one", m.Name)
		if p.external {
			do = fmt.Sprintf("start it (systemctl start ninelives-server); if it is gone for good: ninelives cluster remove %s", m.Name)
		}
		what := m.Problem
		if m.Address != "" {
			what = m.Address + ": " + what
		}
		out = append(out, one(api.Warn, "server", "A server is down: "+m.Name, what, do)...)
	}
	return out
}

// checkQuorum says when nothing would be decided any more after one more failure.
func checkQuorum(p *patient) []api.Finding {
	v := votersOf(p.servers)
	if v.all < 2 || v.healthy > v.quorum() || p.external {
		return nil
	}
	do := "bring the missing ones back, or replace them"
	if v.healthy == v.all {
		do = "let another one join (ninelives server join): three survive the loss of one, two survive none"
	}
	return one(api.Warn, "quorum", "No further server may fail", fmt.Sprintf("%d of %d servers work, and %d are needed: with one less nothing is decided or done", v.healthy, v.all, v.quorum()), do)
}

// voters counts the servers with a vote.
type voters struct{ all, healthy, learners int }

func votersOf(list []api.Member) voters {
	var v voters
	for _, m := range list {
		switch {
		case m.Learner:
			v.learners++
		case m.Healthy:
			v.all, v.healthy = v.all+1, v.healthy+1
		default:
			v.all++
		}
	}
	return v
}

// quorum is how many must work.
func (v voters) quorum() int { return v.all/2 + 1 }
