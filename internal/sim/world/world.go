package world

import (
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"math/rand/v2"
	"time"
)

// Options say what the world is made of. The zero value is a usable empty cloud.
type Options struct {
	// Seed of every random choice.
	Seed uint64
	// Start is the first moment. Zero: 2026-01-01 00:00 UTC.
	Start time.Time
	// Timing says how long things take. Zero fields are taken from [DemoTiming].
	Timing Timing
	// Gated keeps nova-compute from starting after a boot until [World.OpenGate]:
	// set it where agents with a gate run on the hosts.
	Gated bool
	// ResumeGuests is Nova's resume_guests_state_on_host_boot.
	ResumeGuests bool
	// MaxLimit is Nova's page size limit. Zero: 1000.
	MaxLimit int
}

// Event is one thing that happened, for traces, stories and subscribers.
type Event struct {
	At   time.Time
	Kind string // e.g. "power-off", "boot", "evacuate-accepted", "copy-start"
	Host string // may be empty
	VM   string // uuid, may be empty
	Text string
}

// String is the line that the trace hash is made of.
func (e Event) String() string {
	return fmt.Sprintf("%s %s host=%s vm=%s %s", e.At.UTC().Format(time.RFC3339Nano), e.Kind, e.Host, e.VM, e.Text)
}

// World is the simulated cloud. Make one with [New].
type World struct {
	opt   Options
	now   time.Time
	rng   *rand.Rand
	queue eventQueue
	seq   uint64

	hosts      map[string]*Host
	hostNames  []string // in order of creation: maps are never ranged over, for replay
	vms        map[string]*VM
	vmIDs      []string
	migrations []*Migration
	actions    map[string][]*Action // per VM
	flavors    []*Flavor
	images     []*Image
	groups     []*Group
	aggregates []*Aggregate
	stores     map[string]*Store
	cellsDown  map[string]bool
	hidden     map[string]bool // VMs that lists leave out

	copies  map[string][]*Copy // running copies per VM
	doubles []*DoubleRun
	losses  []Loss

	conductor pool
	faults    APIFaults

	events      []Event
	subscribers []func(Event)
	trace       hash.Hash
}

// New makes an empty world at opt.Start.
func New(opt Options) *World {
	if opt.Start.IsZero() {
		opt.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if opt.MaxLimit == 0 {
		opt.MaxLimit = 1000
	}
	opt.Timing = opt.Timing.withDefaults()
	return &World{
		opt:       opt,
		now:       opt.Start,
		rng:       rand.New(rand.NewPCG(opt.Seed, 0x6e696e656c697665)), // second half of the seed: any constant
		hosts:     map[string]*Host{},
		vms:       map[string]*VM{},
		actions:   map[string][]*Action{},
		stores:    map[string]*Store{},
		cellsDown: map[string]bool{},
		hidden:    map[string]bool{},
		copies:    map[string][]*Copy{},
		conductor: pool{limit: opt.Timing.Overall},
		trace:     sha256.New(),
	}
}

// Now is the world's time: that of the last [World.Advance].
func (w *World) Now() time.Time { return w.now }

// Timing returns how long things take here.
func (w *World) Timing() Timing { return w.opt.Timing }

// Advance lets everything happen that is due up to and including now, in
// order. An earlier now than the world's is no change: time never runs back.
func (w *World) Advance(now time.Time) {
	for len(w.queue) > 0 && !w.queue[0].at.After(now) {
		due := heap.Pop(&w.queue).(*pending)
		if due.at.After(w.now) {
			w.now = due.at
		}
		due.do()
	}
	if now.After(w.now) {
		w.now = now
	}
}

// Next says when the next thing will happen by itself, and false if nothing will.
func (w *World) Next() (time.Time, bool) {
	if len(w.queue) == 0 {
		return time.Time{}, false
	}
	return w.queue[0].at, true
}

// After runs do at d from now as part of the world's own events: for scripted faults.
func (w *World) After(d time.Duration, do func()) { w.after(d, do) }

// Subscribe calls f with every later event, from within the call or Advance
// that causes it. f must not change the world.
func (w *World) Subscribe(f func(Event)) { w.subscribers = append(w.subscribers, f) }

// Events returns everything that has happened, oldest first.
func (w *World) Events() []Event { return append([]Event(nil), w.events...) }

// TraceHash is the SHA-256 over all events so far: equal for equal histories.
func (w *World) TraceHash() string { return hex.EncodeToString(w.trace.Sum(nil)) }

func (w *World) emit(kind, host, vm, format string, args ...any) {
	e := Event{At: w.now, Kind: kind, Host: host, VM: vm, Text: fmt.Sprintf(format, args...)}
	w.events = append(w.events, e)
	w.trace.Write(append([]byte(e.String()), '\n'))
	for _, f := range w.subscribers {
		f(e)
	}
}

func (w *World) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, &pending{at: w.now.Add(max(d, 0)), seq: w.seq, do: do})
}

// uuid draws a random version 4 UUID from the world's seed.
func (w *World) uuid() string {
	a, b := w.rng.Uint64(), w.rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%x%03x-%012x",
		uint32(a>>32), uint16(a>>16), uint16(a)&0xfff, 8|(b>>62), uint16(b>>48)&0xfff, b&0xffffffffffff)
}

// pending is something that will happen. seq keeps things due at one moment in the order they were planned.
type pending struct {
	at  time.Time
	seq uint64
	do  func()
}

type eventQueue []*pending

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(*pending)) }
func (q *eventQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}
