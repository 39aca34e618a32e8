package cloud

import (
	"errors"
	"fmt"
	"net/http"
)

// Classes of error; test with errors.Is, and errors.As for *Refused.
var (
	// ErrNotSent: the write certainly had no effect (no permit, no connection, not let in).
	ErrNotSent = errors.New("not sent")
	// ErrUnanswered: the write was sent, and whether it had an effect is unknown (answer lost, late, or a 5xx).
	ErrUnanswered = errors.New("sent, but unanswered")
	// ErrNotFound: Nova, Placement or Glance doesn't know the thing.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized: Keystone doesn't accept our credentials, or a service our token.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrUnavailable: a read got no usable answer: unreachable, late, 5xx, too many requests, or not understood.
	ErrUnavailable = errors.New("unavailable")
)

// Refused is a clear no: the request was understood, had no effect, and would be refused again as things stand.
type Refused struct {
	Status    int    // HTTP
	Message   string // Nova's own words
	RequestID string // Nova's own id of the request
}

// Error gives the status and Nova's words.
func (r *Refused) Error() string {
	msg := r.Message
	if msg == "" {
		msg = http.StatusText(r.Status)
	}
	if r.RequestID == "" {
		return fmt.Sprintf("refused (%d): %s", r.Status, msg)
	}
	return fmt.Sprintf("refused (%d): %s (%s)", r.Status, msg, r.RequestID)
}

// Is makes a refusal with 404 an ErrNotFound, but only one that carries OpenStack's request id: a proxy that has lost its
// backend says 404 as well, and a VM must not pass for deleted because of that.
func (r *Refused) Is(target error) bool {
	return target == ErrNotFound && r.Status == http.StatusNotFound && r.RequestID != ""
}

// LoginError is why the cloud didn't let us in: the same for everything that is asked of it.
type LoginError struct{ Err error }

// Error is the reason alone.
func (e *LoginError) Error() string { return e.Err.Error() }

// Unwrap gives ErrUnauthorized or ErrUnavailable.
func (e *LoginError) Unwrap() error { return e.Err }
