package store

import "testing"

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
		{"only one answers", Status{Leader: "c", Members: []Member{up("a"), down("b"), down("c")}}, false},
		{"a learner has no vote", Status{Leader: "c", Members: []Member{up("a"), copies("b"), down("c"), down("d")}}, false},
	} {
		if got := c.is.Electing(); got != c.want {
			t.Errorf("%s: electing is %v", c.what, got)
		}
	}
}
