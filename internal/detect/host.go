package detect

import (
	"slices"
	"time"
)

// Bounds: what a broken or hostile sender can make us remember of one host.
const (
	maxStreams   = 16
	maxDevices   = 16
	maxEnded     = 8 // boots remembered as ended; a late pulse is seconds old, a boot takes longer than that
	maxWitnesses = 4 // named in a reason; more add nothing
)

// mark is a point in our time together with how much of our time we had slept by then.
type mark struct {
	at    time.Time
	slept time.Duration
}

// host is all that is known of one host.
type host struct {
	HostKnown
	planes  []plane
	devices []device
	streams []stream

	boot, oldBoot string
	ended         []string  // boots that a newer one replaced
	bootAt        time.Time // when the present boot replaced another; zero for the first one known
	ghostFrom     time.Time // first pulse of an ended boot in the present row of them
	ghostLast     time.Time

	pulse      mark      // last pulse, or takeover: when silence on the pulse stream began
	agent      mark      // the same, or the agent's last answer to a probe
	silentFrom mark      // last life of any kind, or takeover
	lastLife   time.Time // last life of any kind, for people; zero if none
	back       mark      // when it was first heard after the last silence
	heard      bool      // pulsed since we began to lead (or at all, if we never took over)
	seen       bool      // pulsed at all
	silent     bool      // the pulse is overdue, or its last stream was lost
	lost       string    // how the last stream ended, if that is why it is silent
	awaited    time.Time // not heard since the takeover: silent from then on

	goodbye      time.Time
	leavingUntil time.Time

	service service
	muted   []string // voices lost to a contradiction
	why     string   // the words of the last contradiction

	verdict  Verdict
	suspect  bool
	since    time.Time
	reason   string
	news     bool // a fact that is a Change of its own, though the verdict may be the same
	calm     bool // pulses of its boot need no thought
	due      time.Time
	heapAt   int       // place in the timer heap, -1 outside
	troubled time.Time // when it was last suspect or worse; see Snapshot
}

// agentVoice is the name in host.muted for the agent.
const agentVoice = "agent"

type stream struct {
	server, id string
	last       time.Time
}

type plane struct {
	name      Plane
	life      mark      // last answer; a pulse isn't kept here
	lifeFrom  mark      // first answer of the present row
	askedAt   time.Time // last probe without an answer, by whomever
	runFrom   mark      // first unanswered probe of the present row by valid witnesses
	runLast   time.Time
	witnesses []string
}

type device struct {
	Power
	at       time.Time
	offFrom  time.Time // first off of the present row: a later pulse of the same boot contradicts it
	quietOff time.Time // first off since the silence began
	onAt     time.Time
}

type service struct {
	value    time.Time
	readAt   time.Time // last reading
	changed  mark      // first reading, or last change
	reported time.Time // last change that we saw happen
	after    time.Time // the reading before it: the report came later than that
}

// touch notes a pulse on a stream and tells whether the stream is new to us.
func (h *host) touch(at time.Time, p Pulse) bool {
	for i := range h.streams {
		if s := &h.streams[i]; s.id == p.Stream && s.server == p.Server {
			if at.After(s.last) {
				s.last = at
			}
			return false
		}
	}
	if len(h.streams) == maxStreams {
		oldest := 0
		for i := range h.streams {
			if h.streams[i].last.Before(h.streams[oldest].last) {
				oldest = i
			}
		}
		h.streams = slices.Delete(h.streams, oldest, oldest+1)
	}
	h.streams = append(h.streams, stream{server: p.Server, id: p.Stream, last: at})
	return true
}

// alive notes life of any kind; what is older than life that we know of adds nothing.
func (h *host) alive(m mark) {
	if !m.at.Before(h.silentFrom.at) {
		h.silentFrom, h.lastLife = m, m.at
	}
}

func (h *host) plane(name Plane) *plane {
	for i := range h.planes {
		if h.planes[i].name == name {
			return &h.planes[i]
		}
	}
	return nil
}

func (h *host) isMuted(voice string) bool { return slices.Contains(h.muted, voice) }

func (h *host) mute(voice, why string) {
	h.muted = append(h.muted, voice)
	h.why, h.news = why, true
}

// offSeen tells whether a device with a voice reads off: a pulse must then be looked at closely.
func (h *host) offSeen() bool {
	for i := range h.devices {
		if !h.devices[i].offFrom.IsZero() {
			return true
		}
	}
	return false
}

// introduce takes over what HostKnown says and keeps the history of planes that stay.
func (h *host) introduce(k HostKnown) {
	names := k.Planes
	if len(names) == 0 {
		names = []Plane{Management}
	}
	planes := make([]plane, 0, len(names))
	for _, n := range names {
		if slices.ContainsFunc(planes, func(p plane) bool { return p.name == n }) {
			continue
		}
		if old := h.plane(n); old != nil {
			planes = append(planes, *old)
		} else {
			planes = append(planes, plane{name: n})
		}
	}
	h.HostKnown, h.planes = k, planes
	if h.boot == "" {
		h.boot = k.Boot
	}
}
