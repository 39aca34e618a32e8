package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// TestSpare: who takes a server out is told what may fail from then on.
func TestSpare(t *testing.T) {
	t.Parallel()
	up, down, copies := store.Member{Healthy: true}, store.Member{}, store.Member{Healthy: true, Learner: true}
	for _, tc := range []struct {
		left []store.Member
		want string
	}{
		{[]store.Member{up}, "One server is left"},
		{[]store.Member{up, up}, "Of the 2 servers left, 2 answer: from now on none of them may fail"},
		{[]store.Member{up, up, copies}, "from now on none of them may fail"},
		{[]store.Member{up, up, up, down}, "Of the 4 servers left, 3 answer: from now on none"},
		{[]store.Member{up, up, up, up}, "Of the 4 servers left, 4 answer: 1 of them may fail"},
	} {
		if got := spare(tc.left); !strings.Contains(got, tc.want) {
			t.Errorf("%q, expected %q", got, tc.want)
		}
	}
}

// TestElsewhere: a client is sent to a leader that answers, and told to come again where they elect one.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	b := &backend{s: &Server{cfg: Config{Name: "b"}, cards: &cards{}}}
	for _, tc := range []struct {
		now    api.Servers
		leader string
		want   string
		soon   bool
	}{
		{api.Servers{Quorum: true, Healthy: 3, Of: 3}, "a", "a leads, not b", false},
		{api.Servers{Electing: true, Healthy: 2, Of: 3}, "a", "electing a leader: 2 of 3 answer", true},
		{api.Servers{Quorum: true, Healthy: 2, Of: 3}, "", "no server is known to lead", true},
		{api.Servers{Reason: "1 of 3 servers answer", Healthy: 1, Of: 3}, "a", "no quorum: 1 of 3 servers answer", false},
	} {
		err := b.elsewhere(tc.now, tc.leader)
		p, ok := errors.AsType[*api.Problem](err)
		if !ok || p.Soon != tc.soon || !strings.Contains(p.Detail, tc.want) {
			t.Errorf("%+v: %+v, expected %q", tc.now, err, tc.want)
		}
	}
}
