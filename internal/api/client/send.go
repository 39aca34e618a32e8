package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
)

const (
	// knockWithin is how long a server may take to say that it is there.
	knockWithin = 2 * time.Second
	// patience is how long the same is asked again while the servers elect a leader: that takes 2 to 4 s, and to knock at a
	// frozen one takes 2 more.
	patience = 10 * time.Second
	// pause is between two rounds.
	pause = 500 * time.Millisecond
	// vouched is how many rounds may end at a leader that doesn't answer: a server names one only if it answers *it*, so
	// after a moment that is no election, but a network.
	vouched = 3
)

// request is what is asked, of whichever server.
type request struct {
	method, path string
	body         []byte
	header       http.Header
}

// send asks one server after the other until one answers for good, and all of them again while they elect a leader. A
// write that may have arrived is not repeated.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any, header http.Header) (*http.Response, error) {
	r := request{method: method, path: path, header: header}
	if body != nil {
		var err error
		if r.body, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	if len(query) > 0 {
		r.path += "?" + query.Encode()
	}
	end := time.Now().Add(c.patience)
	for n := 1; ; n++ {
		resp, passes, err := c.round(ctx, r, n)
		if err == nil || !passes || time.Now().After(end) {
			return resp, err
		}
		select {
		case <-time.After(c.pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// round asks each server once, and the one that leads by their word, for the nth time. passes: nothing was done, and
// another round may do better.
func (c *Client) round(ctx context.Context, r request, n int) (resp *http.Response, passes bool, err error) {
	queue := slices.Clone(c.bases)
	if good := c.good.Load(); good != nil {
		queue = append([]string{*good}, queue...)
	}
	var said *api.Problem // by a server that answers
	var silent error
	from, dead := map[string]*api.Problem{}, map[string]error{} // by a leader's URL: who named it; by any: what its silence was
	for asked := map[string]bool{}; len(queue) > 0; {
		base := queue[0]
		if queue = queue[1:]; asked[base] {
			continue
		}
		asked[base] = true
		resp, err := c.knockAndAsk(ctx, base, r)
		if err == nil {
			c.good.Store(&base)
			return resp, false, nil
		}
		p, answered := errors.AsType[*api.Problem](err)
		switch {
		case answered && p.Status != http.StatusServiceUnavailable, !answered && !neverSent(err) && r.method != http.MethodGet:
			return nil, false, err
		case answered:
			to := strings.TrimRight(p.LeaderURL, "/")
			switch {
			case dead[to] != nil: // it was asked before
				said, passes = deadLeader(p, dead[to]), passes || n < vouched
			case mayFollow(base, to):
				from[to], queue = p, append([]string{to}, queue...)
				fallthrough
			default:
				said, passes = cmp.Or(said, p), passes || p.Soon
			}
		case from[base] != nil:
			said, passes = deadLeader(from[base], err), passes || n < vouched
		case silent == nil:
			silent, dead[base] = err, err
		case !slices.Contains(c.bases, base): // one that was remembered
		default:
			silent, dead[base] = fmt.Errorf("%w; %w", silent, err), err
		}
	}
	if said != nil {
		return nil, passes, said // an answer says more than a silence
	}
	return nil, false, silent
}

// deadLeader is p, which named a leader that doesn't answer.
func deadLeader(p *api.Problem, silence error) *api.Problem {
	return api.Passing("the servers may be electing another leader: try again in a few seconds; `ninelives cluster list` names those that answer. If that one works: is the network between here and there cut?",
		"%s; nothing was done: %v", p.Detail, silence)
}

// errNotSent is a knock that wasn't answered.
type errNotSent struct{ error }

func (e errNotSent) Unwrap() error { return e.error }

func (c *Client) knockAndAsk(ctx context.Context, base string, r request) (*http.Response, error) {
	if err := c.knock(ctx, base); err != nil {
		if good := c.good.Load(); good != nil && *good == base {
			c.good.CompareAndSwap(good, nil)
		}
		return nil, errNotSent{err}
	}
	resp, err := c.ask(ctx, r, base)
	if _, answered := errors.AsType[*api.Problem](err); err != nil && !answered && !neverSent(err) && r.method != http.MethodGet {
		err = fmt.Errorf("%w; nobody knows whether it was done: look (ninelives status) before you ask the same again", err)
	}
	return resp, err
}

// knock asks a server whether it is there at all, before anything is sent to it: one whose machine is frozen, or whose
// network swallows packets, would hold a request until its deadline, and nobody could say whether it had arrived. Where
// there is only one to ask, that is asked.
func (c *Client) knock(ctx context.Context, base string) error {
	if len(c.bases) == 1 && base == c.base {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.within, fmt.Errorf("it says nothing for %v", c.within))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, base+"/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err == nil {
		return resp.Body.Close() // whatever it says
	}
	if why := context.Cause(ctx); why != nil {
		err = why
	} else if why, ok := errors.AsType[*url.Error](err); ok {
		err = why.Err // the address is said
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, base, err)
}

// neverSent: it was not answered a knock, or the connection was never made, so another server may be asked the same.
func neverSent(err error) bool {
	op, dialed := errors.AsType[*net.OpError](err)
	return errors.As(err, new(errNotSent)) || dialed && op.Op == "dial"
}

// mayFollow: the token goes to where a server that accepted it says that the leader is. Never out of TLS, and never to
// this machine's own loopback on the word of another one.
func mayFollow(from, to string) bool {
	f, err1 := url.Parse(from)
	t, err2 := url.Parse(to)
	if err1 != nil || err2 != nil || t.Host == "" || t.Scheme != "https" && (t.Scheme != "http" || f.Scheme != "http") {
		return false
	}
	return !loopback(t.Hostname()) || loopback(f.Hostname())
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
