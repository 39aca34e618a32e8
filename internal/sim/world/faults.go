package world

import "time"

// APIFaults is what is wrong with Nova's API. The zero value: nothing.
type APIFaults struct {
	DownUntil time.Time     // answers 503 until then
	Fail      float64       // share of calls that answer 500 without acting
	Conflict  float64       // share of writes that answer 409 without acting
	Slow      time.Duration // before each answer
	LoseNext  int           // so many next writes act, and then the connection breaks
	HoldNext  int           // so many next writes are held by a proxy for HoldFor and then delivered
	HoldFor   time.Duration
	GaveUp    time.Duration // after how long the proxy tells the caller 504; 0: it never does
	TwiceNext int           // so many next writes are delivered, and once more TwiceIn later
	TwiceIn   time.Duration

	// Evacuations that Nova begins and does not end.
	ForgetNext int // so many next ones are accepted, and their order is lost on the message bus
	BreakNext  int // so many next ones fail on their destination
	HalfNext   int // so many next ones are noted among the VM's actions, and then Nova answers 500 and does nothing
}

// Fate is what becomes of one call.
type Fate struct {
	Status  int           // answer this without acting; 0: go on
	Slow    time.Duration // wait before answering
	Lose    bool          // act, then break the connection
	Hold    time.Duration // deliver that much later
	GaveUp  time.Duration
	Twice   time.Duration // deliver it once more that much later; 0: once only
	Message string
}

// SetAPIFaults changes what is wrong with Nova's API.
func (w *World) SetAPIFaults(change func(*APIFaults)) {
	change(&w.faults)
	w.emit("api-faults", "", "", "%+v", w.faults)
}

// NovaOutage makes Nova's API answer 503 for d.
func (w *World) NovaOutage(d time.Duration) {
	w.SetAPIFaults(func(f *APIFaults) { f.DownUntil = w.now.Add(d) })
}

// FateOf decides what becomes of a call to Nova.
func (w *World) FateOf(write bool) Fate {
	f := &w.faults
	switch {
	case w.now.Before(f.DownUntil):
		return Fate{Status: 503, Message: "The service is temporarily unavailable."}
	case f.Fail > 0 && w.rng.Float64() < f.Fail:
		return Fate{Status: 500, Message: "Unexpected API Error.", Slow: f.Slow}
	case !write:
		return Fate{Slow: f.Slow}
	case f.Conflict > 0 && w.rng.Float64() < f.Conflict:
		return Fate{Status: 409, Message: "Conflict with another request.", Slow: f.Slow}
	case f.LoseNext > 0:
		f.LoseNext--
		return Fate{Lose: true, Slow: f.Slow}
	case f.HoldNext > 0:
		f.HoldNext--
		return Fate{Hold: f.HoldFor, GaveUp: f.GaveUp, Slow: f.Slow}
	case f.TwiceNext > 0:
		f.TwiceNext--
		return Fate{Twice: f.TwiceIn, Slow: f.Slow}
	}
	return Fate{Slow: f.Slow}
}
