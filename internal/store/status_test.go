package store

import (
	"errors"
	"fmt"
	"testing"
)

// A majority that has lost its leader elects another one: that is not a lost quorum.
func TestElecting(t *testing.T) {
	t.Parallel()
	up, down, copies := func(n string) Member { return Member{Name: n, Healthy: true} }, func(n string) Member { return Member{Name: n} }, func(n string) Member { return Member{Name: n, Healthy: true, Learner: true} }
	for _, c := range []struct {
		what string
		is   Status
		want bool
	}{
		{"it has a quorum", Status{Quorum: true, Members: []Member{up("a"), up("b"), down("c")}}, false},
		{"nobody is known to lead", Status{Members: []Member{up("a"), up("b"), down("c")}}, true},
		{"who led is away, and still named", Status{Leader: "c", Members: []Member{up("a"), up("b"), down("c")}}, true},
		{"who leads answers, and yet nothing can be read", Status{Leader: "a", Members: []Member{up("a"), up("b"), down("c")}}, false},
		{"another one leads since a moment ago", Status{Leader: "a", elected: true, Members: []Member{up("a"), up("b"), down("c")}}, true},
		{"another one led for a moment, but only one answers", Status{Leader: "a", elected: true, Members: []Member{up("a"), down("b"), down("c")}}, false},
		{"only one answers", Status{Leader: "c", Members: []Member{up("a"), down("b"), down("c")}}, false},
		{"a learner has no vote", Status{Leader: "c", Members: []Member{up("a"), copies("b"), down("c"), down("d")}}, false},
	} {
		if got := c.is.Electing(); got != c.want {
			t.Errorf("%s: electing is %v", c.what, got)
		}
	}
}

// TestQuorumReason: each thing is said once; why a server doesn't answer is said of that server.
func TestQuorumReason(t *testing.T) {
	t.Parallel()
	up, down := func(n string) Member { return Member{Name: n, Healthy: true} }, func(n string) Member { return Member{Name: n, Problem: "doesn't answer: connection refused"} }
	late := fmt.Errorf("%w: the servers have no leader (%v)", ErrNoQuorum, errors.New("deadline exceeded"))
	for _, c := range []struct {
		members []Member
		want    string
	}{
		{[]Member{up("a"), down("b"), down("c")}, "1 of 3 servers answer, not b, c"},
		{[]Member{up("a"), down("b")}, "1 of 2 servers answer, not b"},
		{[]Member{up("a"), up("b"), down("c")}, "2 of 3 servers answer, not c; yet nothing can be read: the servers have no leader (deadline exceeded)"},
		{[]Member{up("a")}, "1 of 1 servers answer; yet nothing can be read: the servers have no leader (deadline exceeded)"},
	} {
		if got := quorumReason(c.members, late); got != c.want {
			t.Errorf("%q, expected %q", got, c.want)
		}
	}
}
