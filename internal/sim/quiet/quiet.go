// Package quiet measures how often detection is wrong about hosts that live. It runs the real detector, the real
// decisions about witnesses and the real measure of a server's own lateness in virtual time, against a cloud that is
// troubled in every way but by death: packets are lost, hosts stall, planes fail one at a time or in one direction, the
// server is starved, paused and replaced. A few hosts do die in between, so that nobody mistakes deafness for calm.
//
// Nothing is skipped: each pulse, Tick, probe and power reading is one Step of the detector. What is modelled, and not
// the real code, is in between: TCP (a lost segment comes 200 ms later, then after twice that), the agent's links (given
// up after five pulses without an ack, dialled anew with back-off), the devices (30 to 250 ms for a reading).
package quiet

import (
	"math/rand/v2"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
)

// Options say what befalls the cloud. The same options give the same Result.
type Options struct {
	Seed    uint64
	Hosts   int
	For     time.Duration
	Loss    float64 // of packets, on each plane, in each direction
	Trouble []Trouble
	// Overlap lets several planes of one host fail at the same time. Without it a plane's trouble that would come on top
	// of another plane's is left out: that a host nobody can reach on any plane lives is more than detection can know.
	Overlap bool
	Server  []Mishap
	// Deaths is the mean time between two deaths, by turns of power (the device reads off) and of a frozen kernel (it
	// reads on). Zero: nobody dies.
	Deaths time.Duration

	// What a test plants to see that the bench can fail.
	DeadAfter time.Duration // both times of dead, if not zero
	Denies    bool          // the server never tells detection that it was late
}

// Trouble is one kind of trouble of living hosts.
type Trouble struct {
	What  Kind
	Every time.Duration // mean time between two for one host; of RackPlane for one rack
	Long  Length
}

// Kind is a kind of trouble.
type Kind string

// The kinds of trouble.
const (
	Freeze    Kind = "freeze"     // nothing on the host runs, its kernel neither
	Cut       Kind = "cut"        // no plane carries anything; the host runs
	Plane     Kind = "plane"      // one plane carries nothing
	Deaf      Kind = "deaf"       // one plane carries nothing to the host
	Mute      Kind = "mute"       // one plane carries nothing from the host
	RackPlane Kind = "rack plane" // one plane of all hosts of a rack carries nothing
)

// Mishap is one kind of trouble of the server.
type Mishap struct {
	What  ServerKind
	Every time.Duration // mean
	Long  Length        // of Paused and Severed
}

// ServerKind is a kind of trouble of the server.
type ServerKind string

// The kinds of a server's trouble.
const (
	Paused   ServerKind = "paused"   // its process doesn't run; what is sent to it waits
	Severed  ServerKind = "severed"  // its network carries nothing
	Replaced ServerKind = "replaced" // another server, which heard all pulses as well, becomes leader
	Restart  ServerKind = "restart"  // it starts anew, knows boots from the records only, and all agents come back at once
)

// Length draws how long something lasts.
type Length func(*rand.Rand) time.Duration

// Uniform lasts from nothing to most.
func Uniform(most time.Duration) Length {
	return func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(most))) + 1 }
}

// Exponential has a mean and no most.
func Exponential(mean time.Duration) Length {
	return func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(mean)) }
}

// OneOf lasts as long as one of these.
func OneOf(lengths ...time.Duration) Length {
	return func(r *rand.Rand) time.Duration { return lengths[r.IntN(len(lengths))] }
}

// Result is what came of it.
type Result struct {
	Pulses, Probes, Readings int // that the detector took in
	Troubles                 map[Kind]int
	Mishaps                  map[ServerKind]int
	// Alone are the suspicions of hosts that no trouble had touched within the last 5 s: packet loss did it, or the
	// server itself.
	Suspicions, Alone int
	// Wrong are the verdicts about living hosts that nothing explains, by verdict. Dead, Off and Rebooted of a living
	// host are always wrong; Isolated and Degraded are right while the plane is in trouble, or was 5 s ago; Hung and
	// AgentDown never are.
	Wrong map[detect.Verdict]int
	// Right are alerts about living hosts that were true.
	Right map[detect.Verdict]int
	// Stories are the first wrong verdicts, in words.
	Stories []string
	// Off and Dead are the times from the deaths to their verdicts. Missed deaths had none within a minute.
	Off, Dead []time.Duration
	Missed    int
}

// Fatal counts the wrong verdicts that would have led to an action.
func (r *Result) Fatal() int {
	return r.Wrong[detect.Dead] + r.Wrong[detect.Off] + r.Wrong[detect.Rebooted]
}

// Run plays it.
func Run(o Options) *Result {
	c := newCloud(o)
	c.schedule()
	c.play()
	return c.result
}
