package api

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
)

// Problem is an error as the API answers it (RFC 9457), with what to do next.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Do     string `json:"do,omitempty" doc:"What to do next"`
	// Soon: nothing was done, and nobody is needed. A client may ask the same again, for a few seconds.
	Soon   bool   `json:"soon,omitempty" doc:"It passes by itself, and nothing was done: the same may be asked again in a few seconds"`
	Leader string `json:"leader,omitempty" doc:"The server that leads, if that is the one to ask"`
	// LeaderURL is where to ask instead. A server may name an address that only it can reach (loopback).
	LeaderURL string    `json:"leader_url,omitempty" doc:"The leader's API, as that server names it"`
	Mistakes  []Mistake `json:"mistakes,omitempty" doc:"Errors in a file that was sent"`
	Errors    []Detail  `json:"errors,omitempty" doc:"What is wrong with the request itself"`
}

// Detail is one thing that is wrong with a request.
type Detail struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty" doc:"For example body.reason"`
	Value    any    `json:"value,omitempty"`
}

// Error gives the detail and what to do.
func (p *Problem) Error() string {
	if p.Do == "" {
		return p.Detail
	}
	return p.Detail + " (" + p.Do + ")"
}

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes the answer a problem document.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func problem(status int, do, format string, args ...any) *Problem {
	return &Problem{Status: status, Title: http.StatusText(status), Detail: fmt.Sprintf(format, args...), Do: do}
}

// NotFound says that there is no such thing.
func NotFound(do, format string, args ...any) *Problem {
	return problem(http.StatusNotFound, do, format, args...)
}

// Conflict says why, as things stand, it isn't done.
func Conflict(do, format string, args ...any) *Problem {
	return problem(http.StatusConflict, do, format, args...)
}

// Invalid says what is wrong with what was sent.
func Invalid(do, format string, args ...any) *Problem {
	return problem(http.StatusUnprocessableEntity, do, format, args...)
}

// Unavailable says why it can't be answered now.
func Unavailable(do, format string, args ...any) *Problem {
	return problem(http.StatusServiceUnavailable, do, format, args...)
}

// Passing is Unavailable for what passes by itself in seconds. Nothing may have been done.
func Passing(do, format string, args ...any) *Problem {
	p := Unavailable(do, format, args...)
	p.Soon = true
	return p
}

// Uncertain says that nobody knows whether it was done: it must not be asked again without looking.
func Uncertain(do, format string, args ...any) *Problem {
	return problem(http.StatusInternalServerError, do, format, args...)
}

// NotLeading sends the client to the leader, and to the URL of its API; "" if none is known.
func NotLeading(self, leader, url string) *Problem {
	if leader == "" || leader == self {
		return Leaderless(self, Servers{Quorum: true})
	}
	p := Unavailable("ask "+leader+": --server URL", "%s leads, not %s", leader, self)
	if p.Leader, p.LeaderURL = leader, url; url != "" {
		p.Do = "ask " + leader + ": --server " + url
	}
	return p
}

// Leaderless says why no server leads: there is no quorum, or it is just being decided.
func Leaderless(self string, s Servers) *Problem {
	switch {
	case s.Electing:
		return Passing("try again in a few seconds; `ninelives status` names the servers that answer", "the servers are electing a leader: %d of %d answer, none leads yet", s.Healthy, s.Of)
	case !s.Quorum:
		return Unavailable(quorumAdvice(s)+"; `ninelives status` names them", "no quorum: %s", cmp.Or(s.Reason, "no majority of the servers answers"))
	}
	return Passing("try again in a few seconds; `ninelives status` names the servers that answer", "%s doesn't lead, and no server is known to lead", self)
}

// quorumAdvice is what to do when no majority of the servers answers.
func quorumAdvice(s Servers) string {
	var foreign []string
	for _, m := range s.Members {
		if m.Foreign {
			foreign = append(foreign, m.Name)
		}
	}
	if len(foreign) == 0 {
		return "start the servers that don't answer, or mend the network between them"
	}
	return fmt.Sprintf("this server is none of the cluster that runs at the address of %s: if that is the one to go on (it was restored from a backup, or this server was removed from it), stop this server, "+
		"move etcd out of its data directory, and `ninelives server join`", strings.Join(foreign, ", "))
}

// NoQuorum is what people must do about a lost quorum, for the status screen.
func NoQuorum(s Servers) string {
	return fmt.Sprintf("no quorum, so nothing is decided or done (%d of %d servers answer): %s", s.Healthy, s.Of, quorumAdvice(s))
}

// Mistaken refuses a file with its mistakes.
func Mistaken(mistakes []Mistake) *Problem {
	p := Invalid("correct it and send it again; nothing was changed", "the file has %d mistakes", len(mistakes))
	if len(mistakes) == 1 {
		p.Detail = "the file has a mistake: " + mistakes[0].Message
	}
	p.Mistakes = mistakes
	return p
}
