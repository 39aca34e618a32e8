package api

import (
	"strings"
	"testing"
)

// Who has no quorum because the others are another cluster's is sent to that one: to start them is no use.
func TestNoQuorumBesideAnotherCluster(t *testing.T) {
	s := Servers{Healthy: 1, Of: 3, Reason: "1 of 3 servers answer", Members: []Member{
		{Name: "server-1", Foreign: true, Problem: "belongs to another cluster (7)"}, {Name: "server-2"}, {Name: "server-3", Healthy: true},
	}}
	for _, text := range []string{NoQuorum(s), Leaderless("server-3", s).Error()} {
		if !strings.Contains(text, "address of server-1:") || !strings.Contains(text, "ninelives server join") || strings.Contains(text, "start the servers") {
			t.Errorf("beside another cluster: %s", text)
		}
	}
	s.Members[0].Foreign = false
	for _, text := range []string{NoQuorum(s), Leaderless("server-3", s).Error()} {
		if !strings.Contains(text, "start the servers that don't answer") || strings.Contains(text, "join") {
			t.Errorf("cut off: %s", text)
		}
	}
}
