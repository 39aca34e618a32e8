package fence

import "time"

// Reading is one look at the power of a device.
type Reading struct {
	State State `json:"state"`
	// Began and At are when the question was sent and when its answer (or the
	// failure) was there: the state held at some moment in between.
	Began time.Time `json:"began"`
	At    time.Time `json:"at"`
	// Err says in words why the state is unknown.
	Err string `json:"err,omitempty"`
}

// Outcome is what became of one attempt to switch a level off.
type Outcome struct {
	// Proven: every device was sent off, and afterwards read off twice, at
	// least the gap apart, without reading on in between.
	Proven bool `json:"proven"`
	// At is when the last of the proving readings was there: what ran on the
	// machine ended before. Zero unless proven.
	At time.Time `json:"at,omitzero"`
	// Why says in words why it isn't proven; empty if it is.
	Why     string          `json:"why,omitempty"`
	Devices []DeviceOutcome `json:"devices"`
}

// DeviceOutcome is one device's part of an Outcome.
type DeviceOutcome struct {
	Device string `json:"device"`
	Via    string `json:"via"`
	// Sent: the off command left, or may have left. Such a device has to be
	// switched on again one day, whatever else happened.
	Sent   bool      `json:"sent"`
	SentAt time.Time `json:"sent_at,omitzero"`
	// Accepted: the device said yes. That isn't off.
	Accepted bool `json:"accepted"`
	// Err is the answer to the command, in words; an "already off" ends here
	// too and does no harm when the readings say off.
	Err      string    `json:"err,omitempty"`
	Readings []Reading `json:"readings"`
	// Off: this device's own readings prove off.
	Off bool `json:"off"`
}
