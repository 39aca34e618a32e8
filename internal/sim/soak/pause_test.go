package soak

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

var pauseEvery = flag.Int("soak.pause", 40, "pause at one in so many of the boundaries of a recovery; 1: at each")

// TestPausePoints pauses the leader of a recovery, for longer than an election takes, at each point between an intent and
// its end: before the intent's commit leaves and before its answer arrives, before and after the connection to Nova or the
// login to the controller, between the permit and the first byte, and before the answer. Another one leads meanwhile;
// when it goes on it sends nothing that its permit doesn't cover, and all ends as without it.
func TestPausePoints(t *testing.T) {
	// Between its permit and its first byte the return of a host to service can't be taken back: it comes once more, after
	// the successor's.
	anywhere := func(point, what string) bool { return point != "before send" || !strings.HasPrefix(what, "put-back") }
	at := enumerate(t, "pauses", *pauseEvery, strike{at: anywhere, hit: func(c *cluster, l *life) { c.pauseServer(l.name, 3*election) }})
	kinds := map[string]int{}
	for _, where := range at {
		words := strings.Fields(where)
		kind := strings.Join(words[:2], " ") // before commit, after connect …
		if words[1] != "commit" && words[1] != "committed" {
			kind = strings.TrimRight(strings.Join(words[:min(4, len(words))], " "), "0123456789")
		}
		kinds[kind]++
	}
	var text []string
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		text = append(text, fmt.Sprintf("%s ×%d", k, kinds[k]))
	}
	t.Log(strings.Join(text, ", "))
}
