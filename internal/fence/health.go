package fence

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Grade is the result of one step of a health check. The zero value is
// GradeUntried: a step that nobody took is never taken for good.
type Grade string

// The grades of a step.
const (
	GradeUntried Grade = ""               // an earlier step failed
	GradeOK      Grade = "ok"             // tried, works
	GradeFailed  Grade = "failed"         // tried, doesn't work
	GradeNone    Grade = "not applicable" // the device has no such thing
)

// Finding is one step of a health check, with the trouble in words.
type Finding struct {
	Grade Grade  `json:"grade"`
	Words string `json:"words,omitempty"`
}

// Health says whether a device could be used to fence right now. It is the
// result of reading only; nothing was switched.
type Health struct {
	Device    string    `json:"device"`
	At        time.Time `json:"at"`
	Reach     Finding   `json:"reach"`
	Login     Finding   `json:"login"`
	Privilege Finding   `json:"privilege"`
	Identity  Finding   `json:"identity"`
	Power     Finding   `json:"power"`
	// Found is the identity read, empty unless Identity is ok.
	Found Identity `json:"found"`
	// State is the power read, StateUnknown unless Power is ok.
	State State `json:"state"`
}

// OK reports whether the device could fence now: reached, logged in, allowed,
// power read. An unreadable identity is not OK either, since a device whose
// machine isn't known must not be used; that a device can have none is.
func (h Health) OK() bool {
	for _, f := range []Finding{h.Reach, h.Login, h.Privilege, h.Identity, h.Power} {
		if f.Grade != GradeOK && f.Grade != GradeNone {
			return false
		}
	}
	return h.Power.Grade == GradeOK
}

// Trouble is the first thing that is wrong, in words; empty if OK.
func (h Health) Trouble() string {
	steps := []struct {
		name string
		f    Finding
	}{{"reach", h.Reach}, {"login", h.Login}, {"privilege", h.Privilege}, {"identity", h.Identity}, {"power", h.Power}}
	for _, s := range steps {
		if s.f.Grade == GradeFailed {
			return strings.TrimSuffix(s.name+": "+s.f.Words, ": ")
		}
	}
	if !h.OK() {
		return "not checked to the end"
	}
	return ""
}

// Found grades one step from its error: nil is ok, ErrNoIdentity is "not
// applicable", anything else failed.
func Found(err error) Finding {
	switch {
	case err == nil:
		return Finding{Grade: GradeOK}
	case errors.Is(err, ErrNoIdentity):
		return Finding{Grade: GradeNone, Words: err.Error()}
	default:
		return Finding{Grade: GradeFailed, Words: err.Error()}
	}
}

// Examine reads a device's power and identity, which takes reaching it, a login
// and the privilege to read, and grades each by what went wrong.
func Examine(ctx context.Context, dev Device) Health {
	h := Health{Device: dev.ID(), At: time.Now(), State: StateUnknown}
	state, err := dev.Power(ctx)
	switch {
	case err == nil:
		h.Reach, h.Login, h.Privilege, h.Power = Found(nil), Found(nil), Found(nil), Found(nil)
		h.State = state
	case errors.Is(err, ErrPrivilege):
		h.Reach, h.Login, h.Privilege = Found(nil), Found(nil), Found(err)
		return h
	case errors.Is(err, ErrLogin):
		h.Reach, h.Login = Found(nil), Found(err)
		return h
	default:
		h.Reach = Found(err)
		return h
	}
	id, err := dev.Identity(ctx)
	if h.Identity = Found(err); err == nil {
		h.Found = id
	}
	return h
}
