package witness

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ninelives-ha/ninelives/internal/detect"
)

func hosts(n, perRack int) []Peer {
	out := make([]Peer, n)
	for i := range out {
		out[i] = Peer{Host: fmt.Sprintf("h%03d", i), Rack: fmt.Sprintf("r%d", i/perRack)}
	}
	return out
}

// Nobody looks at itself, nobody is asked for more than an order takes, and each suspect gets as many witnesses as there
// can be, of other racks as long as there are such.
func TestAssign(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := hosts(rapid.IntRange(1, 60).Draw(t, "hosts"), rapid.IntRange(1, 20).Draw(t, "per rack"))
		suspects := rapid.IntRange(1, len(all)).Draw(t, "suspects")
		list, up := all[:suspects], all[suspects:]
		if rapid.Bool().Draw(t, "the suspects are up, too") {
			up = all
		}
		each := rapid.IntRange(1, PerSuspect).Draw(t, "each")
		looks, apart := map[string]int{}, map[string]int{}
		for _, c := range Assign(up, list, rapid.IntRange(0, 1000).Draw(t, "turn"), each) {
			if len(c.Targets) > PerOrder {
				t.Fatalf("%s is asked for %d hosts, %d fit into an order", c.Witness.Host, len(c.Targets), PerOrder)
			}
			for i, p := range c.Targets {
				if p.Host == c.Witness.Host || contains(c.Targets[:i], p.Host) {
					t.Fatalf("%s looks at %s, itself or twice", c.Witness.Host, p.Host)
				}
				looks[p.Host]++
				if c.Witness.Apart(p.Rack) {
					apart[p.Host]++
				}
			}
		}
		roomy := len(list)*each <= len(up)
		for _, p := range list {
			others, mates := 0, 0
			for _, w := range up {
				switch {
				case w.Host == p.Host:
				case w.Apart(p.Rack):
					others++
				default:
					mates++
				}
			}
			if want := min(each, others+mates); roomy && looks[p.Host] != want || looks[p.Host] > each {
				t.Fatalf("%s is looked at by %d, expected %d", p.Host, looks[p.Host], want)
			}
			if want := min(each, others); roomy && apart[p.Host] < want {
				t.Fatalf("%s is looked at by %d of other racks, expected %d", p.Host, apart[p.Host], want)
			}
		}
	})
}

func TestControls(t *testing.T) {
	up := hosts(12, 3)
	got := Controls(up, "h004", "r1", 2, up[6:8])
	if want := []Peer{up[2], up[8], up[9]}; !cmp.Equal(got, want) {
		t.Errorf("controls of h004 in rack r1: %v, expected %v: not of its rack, not among its targets", got, want)
	}
	if got := Controls(nil, "h004", "r1", 2, nil); got != nil {
		t.Errorf("with nobody up: %v, expected none", got)
	}
}

func TestSays(t *testing.T) {
	all := hosts(6, 2) // racks: 0 1 | 2 3 | 4 5
	look := Look{Prober: "h000", Rack: "r0", Plane: detect.Storage, Targets: []Peer{all[2], all[3]}, Controls: []Peer{all[4]}}
	yes, no := Reply{Answer: detect.AnswerKernel, Age: time.Second}, Reply{}
	for _, c := range []struct {
		name    string
		look    Look
		replies map[string]Reply
		valid   string // of targets in order: v valid, - not; upper case: it answered
	}{
		{"the control answers", look, map[string]Reply{"h002": no, "h003": no, "h004": yes}, "vv"},
		{"nobody answers", look, map[string]Reply{"h002": no, "h003": no, "h004": no}, "--"},
		{"a target is the other's control, never its own", look, map[string]Reply{"h002": yes, "h003": no, "h004": no}, "_v"},
		{"the control was not asked", look, map[string]Reply{"h002": no}, "-"},
		{"only its own rack answers", Look{Prober: "h000", Rack: "r0", Targets: []Peer{all[2]}, Controls: []Peer{all[1]}},
			map[string]Reply{"h002": no, "h001": yes}, "-"},
		{"racks are not known", Look{Prober: "a", Targets: []Peer{{Host: "b"}}, Controls: []Peer{{Host: "c"}}},
			map[string]Reply{"b": no, "c": yes}, "v"},
	} {
		got := ""
		for _, p := range c.look.Says(c.replies) {
			got += string("-v_V"[2*index(p.Answer != detect.AnswerNone)+index(p.Valid)])
			if want := c.replies[p.Host].Age; p.Age != want {
				t.Errorf("%s: age %v, expected %v", c.name, p.Age, want)
			}
		}
		if got != c.valid {
			t.Errorf("%s: %q, expected %q", c.name, got, c.valid)
		}
	}
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestPace(t *testing.T) {
	p, start := NewPace(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	want := []detect.Want{{Host: "h1", Planes: []detect.Plane{detect.Management, detect.Storage}, ProbeEvery: time.Second}}
	for _, c := range []struct {
		at  time.Duration
		due bool
	}{{0, true}, {999 * time.Millisecond, false}, {time.Second, true}, {1500 * time.Millisecond, false}} {
		due := p.Wanted(start.Add(c.at), want)
		if got := slices.Equal(due[detect.Storage], []string{"h1"}) && slices.Equal(due[detect.Management], []string{"h1"}); got != c.due {
			t.Errorf("at %v due: %v, expected %t", c.at, due, c.due)
		}
	}
	p.Forget(start.Add(30 * time.Second))
	if len(p.last) != 2 {
		t.Error("what was looked at half a minute ago is forgotten")
	}
	if p.Forget(start.Add(3 * time.Minute)); len(p.last) != 0 {
		t.Error("what was looked at minutes ago is still known")
	}
}
