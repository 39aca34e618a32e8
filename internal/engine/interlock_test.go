package engine

import "testing"

// Most hosts must say that another cluster leads them, and more than one.
func TestSuperseded(t *testing.T) {
	t.Parallel()
	for a, want := range map[Ahead]bool{{}: false, {Hosts: 1, Of: 1}: false, {Hosts: 1, Of: 3}: false, {Hosts: 2, Of: 4}: false, {Hosts: 2, Of: 2}: true, {Hosts: 2, Of: 3}: true} {
		e := &Engine{quorum: QuorumChanged{Ahead: a}}
		if why := e.Superseded(); (why != "") != want {
			t.Errorf("%+v: %q", a, why)
		}
	}
}
