//go:build bench

package falseverdict

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/test/rig"
)

// host is one compute host: a namespace and an agent in it.
type host struct {
	n     int
	name  string
	agent *exec.Cmd
	log   string
	busy  bool // in trouble now
	past  []trouble
}

// trouble is what befell a host, and when.
type trouble struct {
	what     string
	plane    int
	from, to time.Time
}

func (h *host) signal(s syscall.Signal) error { return h.agent.Process.Signal(s) }

// kinds of trouble: how long at most, and what begins and ends it.
var kinds = []struct {
	what string
	most time.Duration
	set  func(h *host, plane int, yes bool) error
}{
	{"agent stopped", 10 * time.Second, func(h *host, _ int, yes bool) error { return h.stop(yes) }},
	{"whole host stalled", 10 * time.Second, func(h *host, _ int, yes bool) error {
		return errors.Join(h.cut(0, yes), h.cut(1, yes), h.stop(yes))
	}},
	{"network cut", 10 * time.Second, func(h *host, _ int, yes bool) error { return errors.Join(h.cut(0, yes), h.cut(1, yes)) }},
	{"plane cut", 60 * time.Second, func(h *host, p int, yes bool) error { return h.cut(p, yes) }},
	{"plane deaf", 60 * time.Second, func(h *host, p int, yes bool) error { return h.drop(p, "INPUT", yes) }},
	{"plane mute", 60 * time.Second, func(h *host, p int, yes bool) error { return h.drop(p, "OUTPUT", yes) }},
}

func (h *host) stop(yes bool) error {
	if yes {
		return h.signal(syscall.SIGSTOP)
	}
	return h.signal(syscall.SIGCONT)
}

// befall begins a random trouble; what it returns ends it.
func (h *host) befall(r *rand.Rand) (time.Duration, func() error, error) {
	k := kinds[r.IntN(len(kinds))]
	plane, long := r.IntN(len(planes)), k.most/10+time.Duration(r.Int64N(int64(k.most*9/10)))
	h.busy = true
	h.past = append(h.past, trouble{what: k.what, plane: plane, from: time.Now()})
	err := k.set(h, plane, true)
	return long, func() error {
		h.busy, h.past[len(h.past)-1].to = false, time.Now()
		return k.set(h, plane, false)
	}, err
}

// explains tells what had befallen the host shortly before a moment, "" if nothing had.
func (h *host) explains(at time.Time) string {
	for _, p := range h.past {
		if p.from.Before(at) && (p.to.IsZero() || at.Before(p.to.Add(20*time.Second))) {
			return p.what
		}
	}
	return ""
}

// troubles befall a host every two seconds, a quarter of them at most at a time, and the server now and then: it is
// stopped for 5 s, once in a while for 10 s. It returns how often.
func troubles(t *testing.T, server *rig.Product, hosts []*host, long time.Duration) (pauses int) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(number("NINELIVES_FALSE_SEED", 1)), 79))
	type ending struct {
		at  time.Time
		end func() error
	}
	var under []ending
	check := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	end, nextHost, nextPause := time.Now().Add(long), time.Now(), time.Now().Add(10*time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for now := range tick.C {
		kept := under[:0]
		for _, e := range under {
			if now.Before(e.at) && now.Before(end) {
				kept = append(kept, e)
				continue
			}
			check(e.end())
		}
		under = kept
		if now.After(end) && len(under) == 0 {
			return pauses
		}
		if h := hosts[r.IntN(len(hosts))]; now.After(nextHost) && !h.busy && len(under) < len(hosts)/4 && now.Before(end) {
			took, stop, err := h.befall(r)
			check(err)
			under, nextHost = append(under, ending{now.Add(took), stop}), now.Add(2*time.Second)
		}
		if now.After(nextPause) && now.Before(end) {
			pause := 5 * time.Second
			if pauses%4 == 3 {
				pause = 10 * time.Second
			}
			check(server.Signal(syscall.SIGSTOP))
			under = append(under, ending{now.Add(pause), func() error { return server.Signal(syscall.SIGCONT) }})
			pauses, nextPause = pauses+1, now.Add(pause+time.Duration(10+r.IntN(15))*time.Second)
		}
	}
	return pauses
}
