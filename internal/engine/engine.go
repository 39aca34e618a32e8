package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// Config holds the engine's times and limits. All come from one derivation (detect.Derive) and the policy's hosts section.
type Config struct {
	Server       string        // this server's name, for the story
	Epoch        int64         // the leader's epoch: part of every action's ID
	User         string        // the cloud user we act as; evacuations by any other user are somebody else's
	Pulse        time.Duration // a verdict that comes at once waits one pulse for stragglers
	Stragglers   time.Duration // after the last life of a failed host, whoever failed with it is suspect by now
	RequestTTL   time.Duration // how long an unanswered request may still be delivered
	Permit       time.Duration // how long a committed intent may be sent
	OffTimeout   time.Duration // of one fence level
	PerTarget    int           // evacuations at once to one destination
	InAll        int           // evacuations at once
	StaysStopped bool          // Nova keeps an evacuated stopped VM stopped (microversion 2.95)
	Takeover     time.Time     // when this server became leader
}

// Defaults fills what is zero.
func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Pulse, time.Second)
	def(&c.Stragglers, 5*time.Second)
	def(&c.RequestTTL, 90*time.Second)
	def(&c.Permit, 2*time.Second)
	def(&c.OffTimeout, 60*time.Second)
	if c.PerTarget == 0 {
		c.PerTarget = 4
	}
	if c.InAll == 0 {
		c.InAll = 16
	}
	return c
}

// Switches are the operator's durable yes and no to all action.
type Switches struct {
	Armed  bool      `json:"armed"`
	Shadow bool      `json:"shadow"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// unarmed is what holds before an operator has said anything: a new installation, or one that lost its records, does
// nothing (unknown means no).
func unarmed() Switches {
	return Switches{Reason: "nobody has armed it yet"}
}

// Disarmed says in words why nothing may be done; "" if it is armed.
func (s Switches) Disarmed() string {
	switch {
	case s.Armed:
		return ""
	case s.By == "":
		return "disarmed: " + s.Reason
	default:
		return "disarmed by " + s.By + ": " + s.Reason
	}
}

// Engine holds all state of incidents. It is not safe for concurrent use: one loop owns it.
type Engine struct {
	cfg       Config
	policy    *policy.Policy
	switches  Switches
	zones     map[string]Maintenance
	hosts     map[string]*host
	incidents map[string]*Incident            // all that are kept, closed ones too
	open      []*Incident                     // those that aren't closed, oldest first: a step's order is always the same
	openOn    map[string]*Incident            // the same, by host, without those that outlive its readmission
	openBy    map[string][]*Incident          // the same, by host, all; nil: one came or went
	vms       map[string]map[string]*Recovery // incident → VM → recovery
	queues    map[string][]*Recovery          // incident → its VMs in the order of the queue; made when it is asked for
	gated     map[string]bool                 // hosts whose agents wait for a gate order
	quorum    QuorumChanged
	fences    map[string]time.Time // by host, when one was sent to it; of the last minute, for the rate
	storm     time.Time            // when the storm interlock last held
	stormKept time.Time            // what its record says of that
	swept     time.Time            // when old incidents were last dropped

	now       time.Time
	out       Effects
	serial    int
	inflight  map[string]*Action              // what is under way, by key
	dangerous map[string]*Action              // what of it is dangerous
	byID      map[string]string               // action → key
	dirty     map[string]bool                 // keys of records to write
	paused    time.Time                       // Nova didn't take a request: nothing new until a read succeeds
	polled    map[string]map[string]time.Time // incident, or "" → what repeats → its last time

	// Made at most once in a step, when first asked for.
	focus   map[string]bool // incidents the event is about
	loads   *loads
	steady  []*host
	names   []string // of all hosts, in order; nil: one came or went
	counted map[string]*stormCount

	countedUntil time.Time // nothing in counted changes by time alone before
	recount      bool      // something that is counted has changed
}

// New makes an engine with nothing in it, disarmed. Load brings the records of an earlier leader.
func New(cfg Config, p *policy.Policy) *Engine {
	return &Engine{
		cfg: cfg.withDefaults(), policy: p, switches: unarmed(),
		zones: map[string]Maintenance{}, hosts: map[string]*host{}, incidents: map[string]*Incident{}, openOn: map[string]*Incident{},
		vms: map[string]map[string]*Recovery{}, queues: map[string][]*Recovery{}, gated: map[string]bool{}, fences: map[string]time.Time{},
		inflight: map[string]*Action{}, dangerous: map[string]*Action{}, byID: map[string]string{}, dirty: map[string]bool{}, polled: map[string]map[string]time.Time{},
	}
}

// Step takes one event in and returns what must follow. now must never go back.
func (e *Engine) Step(now time.Time, ev Event) Effects {
	if now.After(e.now) {
		e.now = now
	}
	e.out, e.focus, e.loads, e.steady = Effects{}, map[string]bool{}, nil, nil
	e.take(ev)
	for _, in := range e.concerned(ev) {
		e.advance(in)
	}
	e.gates(ev)
	e.withdraw(ev)
	e.flush()
	return e.out
}

func (e *Engine) take(ev Event) {
	switch ev := ev.(type) {
	case HostSeen:
		e.hostSeen(ev.Host)
	case HostForgotten:
		e.hostForgotten(ev.Host)
	case InventoryRead:
		e.inventoryRead(ev)
	case Assessed:
		e.assessed(ev)
	case AgentReported:
		e.agentReported(ev)
	case ServiceRead:
		e.serviceRead(ev)
	case FenceDone:
		e.fenceDone(ev)
	case PowerRead:
		e.powerRead(ev)
	case Listed:
		e.listed(ev)
	case Answered:
		e.answered(ev)
	case Inspected:
		e.inspected(ev)
	case Tracked:
		e.tracked(ev)
	case Looked:
		e.looked(ev)
	case CloudSeen:
		e.cfg.User, e.cfg.StaysStopped = ev.User, ev.StaysStopped
	case PolicyChanged:
		e.policy, e.recount = ev.Policy, true
	case QuorumChanged:
		e.quorum = ev
	case Asked:
		e.asked(ev)
	case Tick:
		e.expire()
		e.sweep()
	}
}

// concerned lists the incidents that must be looked at after an event: all of them after a tick or an operator's word,
// else those that the event is about. Whatever else follows from it follows at the next tick; with 10,000 hosts that
// report, a step must not cost what all incidents cost.
func (e *Engine) concerned(ev Event) []*Incident {
	switch ev := ev.(type) {
	case HostSeen:
		return e.openOf(ev.Host.Name)
	case HostForgotten:
		return e.openOf(ev.Host)
	case InventoryRead:
		return e.openOf(ev.Host)
	case Assessed:
		return e.openOf(ev.Host)
	case AgentReported:
		return e.openOf(ev.Host)
	case Tick, Asked, PolicyChanged, QuorumChanged, CloudSeen:
		return slices.Clone(e.open)
	default: // answers
		var out []*Incident
		for _, in := range e.open {
			if e.focus[in.ID] {
				out = append(out, in)
			}
		}
		return out
	}
}

// advance asks what should be happening to an incident now. It is level-triggered: it can be asked at any time, any
// number of times, also first thing after a takeover.
func (e *Engine) advance(in *Incident) {
	if in.closed() {
		return
	}
	e.follow(in)
	if in.Aborted != "" {
		e.windDown(in)
		return
	}
	e.failedAgain(in)
	e.livesOn(in)
	switch in.Phase {
	case PhaseAlert:
	case PhaseOpen:
		e.admit(in)
	case PhaseFencing:
		e.fence(in)
	case PhaseTakingOut:
		e.takeOut(in)
	case PhaseResurrecting:
		e.resurrect(in)
	case PhaseInPlace:
		e.inPlace(in)
	case PhaseRecovered:
		e.bringBack(in)
	case PhaseRetrying:
		e.goOnTrying(in)
	case PhaseClosed:
	}
}

func (e *Engine) host(name string) *host {
	h, ok := e.hosts[name]
	if !ok {
		h = &host{facts: HostFacts{Name: name}}
		e.hosts[name], e.names = h, nil
	}
	return h
}

// incidentOf returns the open incident of a host that is in trouble or on its way back; nil if it is in service.
func (e *Engine) incidentOf(host string) *Incident { return e.openOn[host] }

// openOf lists a host's open incidents, oldest first: the one it is in, and those that outlive its readmission.
func (e *Engine) openOf(host string) []*Incident {
	if e.openBy == nil {
		e.openBy = map[string][]*Incident{}
		for _, in := range e.open {
			e.openBy[in.Host] = append(e.openBy[in.Host], in)
		}
	}
	return e.openBy[host]
}

// keep puts an incident into the indexes.
func (e *Engine) keep(in *Incident) {
	e.incidents[in.ID] = in
	if e.vms[in.ID] == nil {
		e.vms[in.ID] = map[string]*Recovery{}
	}
	if in.closed() {
		return
	}
	if in.Phase != PhaseRetrying {
		e.openOn[in.Host] = in
	}
	at, _ := slices.BinarySearchFunc(e.open, in, func(a, b *Incident) int {
		return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.ID, b.ID))
	})
	e.open, e.openBy = slices.Insert(e.open, at, in), nil
}

// add puts a VM under an incident's care.
func (e *Engine) add(r *Recovery) {
	e.vms[r.Incident][r.VM.ID] = r
	delete(e.queues, r.Incident)
}

// recoveries returns an incident's VMs in the order of its queue.
func (e *Engine) recoveries(in *Incident) []*Recovery {
	if q, ok := e.queues[in.ID]; ok {
		return q
	}
	q := make([]*Recovery, 0, len(e.vms[in.ID]))
	for _, r := range e.vms[in.ID] {
		q = append(q, r)
	}
	slices.SortFunc(q, func(a, b *Recovery) int { return cmp.Or(a.Order-b.Order, cmp.Compare(a.VM.ID, b.VM.ID)) })
	e.queues[in.ID] = q
	return q
}

// do begins an action unless the same one is under way, and returns it (nil if it is).
func (e *Engine) do(key string, a Action) *Action {
	if _, busy := e.inflight[key]; busy {
		return nil
	}
	e.serial++
	a.ID = fmt.Sprintf("%d.%d", e.cfg.Epoch, e.serial)
	limit := deadlines[a.Do]
	if a.Do == Fence {
		limit = 2*e.cfg.OffTimeout + 30*time.Second
	}
	a.Begun, a.Deadline = e.now, e.now.Add(limit)
	e.inflight[key], e.byID[a.ID] = &a, key
	if a.Do.Dangerous() {
		e.dangerous[key] = &a
	}
	e.out.Actions = append(e.out.Actions, a)
	return &a
}

// answeredBy closes the action an answer names and returns it; nil when it is not (or no longer) ours.
func (e *Engine) answeredBy(id string) *Action {
	key, ok := e.byID[id]
	if !ok {
		return nil
	}
	a := e.inflight[key]
	delete(e.byID, id)
	delete(e.inflight, key)
	delete(e.dangerous, key)
	e.focus[a.Incident] = true
	return a
}

func (e *Engine) busy(key string) bool { _, ok := e.inflight[key]; return ok }

// expire treats an action without an answer past its deadline as unanswered: the shell failed, the world may not have.
func (e *Engine) expire() {
	var late []string
	for key, a := range e.inflight {
		if e.now.After(a.Deadline) {
			late = append(late, key)
		}
	}
	sort.Strings(late)
	for _, key := range late {
		a := e.inflight[key]
		e.note(Warning, a.Host, a.Incident, a.VM, "no answer to "+string(a.Do)+" within its deadline")
		switch a.Do {
		case Fence:
			e.fenceDone(FenceDone{Action: a.ID, Sent: true, Unanswered: true, Err: "no answer within the deadline"})
		case ListServers:
			e.listed(Listed{Action: a.ID, Err: "no answer within the deadline"})
		case ReadPower:
			e.powerRead(PowerRead{Action: a.ID, Err: "no answer within the deadline"})
		case Evacuate, ResetState, TakeOut, Pause, Start, HardReboot, PowerOn, PutBack:
			e.answered(Answered{Action: a.ID, Answer: Unanswered, Text: "no answer within the deadline"})
		default:
			e.answeredBy(a.ID)
		}
	}
}

// every reports whether a thing that repeats for an incident is due, and starts its next period.
func (e *Engine) every(in *Incident, what string, period time.Duration) bool {
	if last := e.last(in, what); !last.IsZero() && e.now.Sub(last) < period {
		return false
	}
	e.mark(in, what, e.now)
	return true
}

// repeat begins an action when its period has passed and it isn't under way.
func (e *Engine) repeat(in *Incident, key string, period time.Duration, a Action) {
	if !e.busy(key) && e.every(in, key, period) {
		e.do(key, a)
	}
}

// last and mark keep when something was last done or learnt for an incident ("" for none). It ends with the incident,
// and with the leader: whoever takes over reads everything anew.
func (e *Engine) last(in *Incident, what string) time.Time { return e.polled[in.ID][what] }

func (e *Engine) mark(in *Incident, what string, at time.Time) {
	if e.polled[in.ID] == nil {
		e.polled[in.ID] = map[string]time.Time{}
	}
	e.polled[in.ID][what] = at
}

func (e *Engine) newID(host string) string {
	for n := 0; ; n++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %d", host, e.now.UnixNano(), e.cfg.Epoch, n))
		id := hex.EncodeToString(sum[:3])
		if _, taken := e.incidents[id]; !taken {
			return id
		}
	}
}
