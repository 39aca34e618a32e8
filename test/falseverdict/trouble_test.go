//go:build bench

package falseverdict

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"syscall"
	"time"
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
