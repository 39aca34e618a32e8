package detect

import "time"

// Observation is one thing that the caller saw, heard or was told. The time of it is the `now` of the Step call:
// the receiver's monotonic clock. A sender's clock is never trusted.
type Observation interface{ observation() }

// HostKnown introduces a host or replaces what is known of it (zone, planes, protection); its history stays.
// Observations about hosts that were never introduced are ignored.
type HostKnown struct {
	Host   string
	Zone   string            // Nova's availability zone: the storm interlock counts in zones
	Labels map[string]string // rack, pdu, switch: name the suspected cause. Not changed after it is handed in
	Planes []Plane           // planes the host has addresses on; empty means management only
	// Protected is false for hosts that never had an agent, or that Ninelives can't protect: they never get a
	// verdict.
	Protected bool
	// Boot is the last boot that the records know, or "". A first pulse with another boot then reads `rebooted`,
	// and a host that never came back after a Takeover is suspected once the reconnect wave has passed, or nearly all
	// others are back.
	Boot string
}

// HostForgotten drops a host. No Change follows.
type HostForgotten struct{ Host string }

// Pulse is one heartbeat of an agent, heard by any server.
type Pulse struct {
	Host   string
	Boot   string // boot_id; "" if the agent couldn't read it: life, but of no known boot
	Stream string // identity of the gRPC stream, unique within Server
	Server string // the server that heard it
	// Age is how long ago it was heard, at least: what the server that relays it measured on its own clock before it
	// sent. Zero for a pulse that this server heard itself. Life counts from then: an old pulse neither ends a silence
	// that has lasted longer since, nor shortens the time that a pulse heard later has given.
	Age time.Duration
}

// StreamLost says that a stream ended. When it was the host's last live one, suspicion begins at once.
type StreamLost struct {
	Host, Stream, Server string
	Reset                bool // TCP reset; false: closed in order
}

// Goodbye is the agent's word that its machine is shutting down. It is life, too.
type Goodbye struct{ Host, Boot string }

// Probe is the outcome of one probe of one plane of a host.
type Probe struct {
	Host   string
	Plane  Plane
	Prober string // the server or host that probed
	Answer Answer
	// Valid: on the same plane, within the same Times.WitnessWindow, the prober reached a control host outside its
	// own rack. An answer counts always; no answer counts only from a valid prober: otherwise the plane is unknown.
	Valid bool
	// Age is how long ago the answer came, at least, on the prober's clock: one look at many hosts is told when its last
	// one has answered or hasn't.
	Age time.Duration
}

// Power is one reading of a fence device, at the time its reply arrived.
type Power struct {
	Host   string
	Device string // the device's name, unique for the host
	Kind   string // how people call it in a sentence; "" means "BMC"
	Via    string // chassis manager, PDU or controller it was read through: readings through one are one witness
	// Bound: the device's identity equals the host's own, or an operator bound it. Unbound readings never count.
	Bound bool
	State PowerState
	// Level and Of: the device is one of Of devices of this fence level, which must all be off (two power supplies,
	// two outlets). Zero Of means 1: the device alone decides.
	Level, Of int
}

// Service is one reading of nova-compute's record in os-services. Freshness is that UpdatedAt changed between two
// readings on our clock; its value is never compared with our clock.
type Service struct {
	Host      string
	UpdatedAt time.Time
}

// Late says how much later than planned the caller's own loop ran. Time that we slept isn't silence that we
// heard, and a slow server gives every host more time for a while.
type Late struct{ By time.Duration }

// RelayLost says that another server no longer tells what it hears. Hosts that only it could hear may live: for
// Times.StormWindow nobody is dead or isolated before the time that one plane takes.
type RelayLost struct{ Server string }

// Takeover says that this server has become leader: silences that it did not observe itself are dropped, and
// nobody is found dead until the reconnect wave has passed.
type Takeover struct{}

// Cleared gives a voice back that a contradiction took away: an operator's word, or a device that was bound anew.
type Cleared struct {
	Host   string
	Device string // "" means the host's agent
}

// Tick lets time pass. Timers fire only here, so that a burst of waiting pulses is heard before anyone is judged.
// Call it every 50-100 ms, or at Detector.Due.
type Tick struct{}

func (HostKnown) observation()     {}
func (HostForgotten) observation() {}
func (Pulse) observation()         {}
func (StreamLost) observation()    {}
func (Goodbye) observation()       {}
func (Probe) observation()         {}
func (Power) observation()         {}
func (Service) observation()       {}
func (Late) observation()          {}
func (RelayLost) observation()     {}
func (Takeover) observation()      {}
func (Cleared) observation()       {}
func (Tick) observation()          {}
