package server

import (
	"slices"
	"strings"
	"testing"
)

// TestRollingUpgrade: servers of two versions run together; the format is raised when all have the new one; a server that
// comes back with the old one says so and doesn't lead, another one does.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	x := startTrio(t, 1)
	newer := func(o *Options) { o.Knows = format + 1 }
	upgrade := func(name string, to func(*Options)) {
		x.end(t, name)
		x.start(t, name, to)
	}
	upgrade("server-1", newer)
	upgrade("server-2", newer)
	x.lead(t, "server-1")
	waitFor(t, "all cards are there", func() bool {
		s := x.servers["server-1"]
		return s.cards.get("server-2").Format == format+1 && s.cards.get("server-3").Format == format
	})
	if got := x.servers["server-1"].written(); got != format {
		t.Errorf("while one server is old, format %d is written", got)
	}
	upgrade("server-3", newer)
	waitFor(t, "the format is raised", func() bool {
		s := x.servers[waitLeader(t, x.servers)]
		return s.written() == format+1
	})

	upgrade("server-2", nil) // downgraded, which is too late
	old := x.servers["server-2"]
	waitFor(t, "the old server is elected, and finds what it can't read", func() bool {
		if old.outdated.Load() == nil {
			if err := x.servers[waitLeader(t, x.servers)].store.Resign(t.Context(), "server-2"); err != nil {
				t.Log("it hasn't caught up yet")
			}
		}
		return old.outdated.Load() != nil
	})
	waitFor(t, "another server leads", func() bool {
		for name, s := range x.servers {
			if name != "server-2" && s.reign.Load() != nil && old.outdated.Load() != nil {
				return true
			}
		}
		return false
	})
	if old.reign.Load() != nil {
		t.Error("a server leads on records that it can't read")
	}
	alarms := clientStatusAlarms(t, old)
	if !slices.ContainsFunc(alarms, func(a string) bool {
		return strings.Contains(a, "server-2 can't lead") && strings.Contains(a, "upgrade it")
	}) {
		t.Errorf("its status says %q", alarms)
	}
}

func clientStatusAlarms(t *testing.T, s *Server) []string {
	t.Helper()
	st, err := (&backend{s: s}).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.Servers.Alarms
}
