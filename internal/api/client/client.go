// Package client speaks the REST API of a server. The command line uses nothing else.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// ErrUnreachable says that no server answered at all.
var ErrUnreachable = errors.New("cannot reach the server")

// maxAnswer bounds what is read of one answer: 200,000 VMs are about 150 MB.
const maxAnswer = 512 << 20

// Client asks the servers. It is safe for concurrent use.
type Client struct {
	base  string // the first of bases
	bases []string
	good  atomic.Pointer[string] // the one that answered last
	token string
	http  *http.Client

	within, patience, pause time.Duration // the constants of these names
}

// New makes a client of the servers at base (http://127.0.0.1:7400, or several with commas between) with an admin token.
// Where one can't be reached, or doesn't say within 2 s that it is there, the next is asked; where another one leads, that one is. While they
// elect a leader all are asked again, for 10 s. transport nil: http.DefaultTransport. Deadlines come with each call's context.
func New(base, token string, transport http.RoundTripper) (*Client, error) {
	c := &Client{token: strings.TrimSpace(token), within: knockWithin, patience: patience, pause: pause, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token goes nowhere else
	}}
	for one := range strings.SplitSeq(base, ",") {
		one = strings.TrimSpace(one)
		u, err := url.Parse(one)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("%q is no address of a server: it should be http://HOST:PORT or https://HOST:PORT", one)
		}
		c.bases = append(c.bases, strings.TrimRight(one, "/"))
	}
	c.base = c.bases[0]
	return c, nil
}

// do sends one request. Errors are *api.Problem if the server answered one, ErrUnreachable if none answered.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body, into any) error {
	resp, err := c.send(ctx, method, path, query, body, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("cannot read the answer of %s: %w", c.base, err)
	case len(text) > maxAnswer:
		return fmt.Errorf("the answer of %s is larger than %d MB", c.base, maxAnswer>>20)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s answers something else than this client expects; is it a Ninelives server of the same version? (%w)", c.base, err)
	}
	return nil
}

// ask sends one request to one server.
func (c *Client) ask(ctx context.Context, r request, base string) (*http.Response, error) {
	var reader io.Reader
	if r.body != nil {
		reader = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, base+r.path, reader)
	if err != nil {
		return nil, err
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w at %s: %w", ErrUnreachable, base, err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, c.problem(resp)
	}
	return resp, nil
}

func (c *Client) problem(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<20)) // what came is all there is to show
	p := &api.Problem{}
	if json.Unmarshal(text, p) != nil || p.Detail == "" && len(p.Errors) == 0 {
		p = &api.Problem{Detail: fmt.Sprintf("%s answers %s: is it a Ninelives server?", c.base, resp.Status)}
	}
	p.Status = resp.StatusCode
	for _, e := range p.Errors {
		p.Detail += fmt.Sprintf("; %s: %s", e.Location, e.Message)
	}
	return p
}

// call is do for an answer of one type.
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (T, error) {
	var out T
	err := c.do(ctx, method, path, query, body, &out)
	return out, err
}

// part is a part of a list as it comes.
type part[T any] interface {
	entries() []T
	next() string
}

// whole asks for a list part by part, until its end.
func whole[P part[T], T any](ctx context.Context, c *Client, path string, query url.Values) ([]T, error) {
	var out []T
	for {
		p, err := call[P](ctx, c, http.MethodGet, path, query, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, p.entries()...)
		switch next := p.next(); next {
		case "":
			return out, nil
		case query.Get("after"):
			return nil, fmt.Errorf("the list of %s goes in circles at %s", path, next)
		default:
			query.Set("after", next)
		}
	}
}

func esc(s string) string { return url.PathEscape(s) }

// Status asks how things stand. Of incidents only the leader knows, so that one is asked where it can be. Where it doesn't
// answer, the others are asked once more: another one may lead by now. What they know is better than nothing, and says
// that it isn't all.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	var st api.Status
	for range 2 {
		now, err := call[api.Status](ctx, c, http.MethodGet, "/v1/status", nil, nil)
		switch {
		case err != nil && st.Server != "":
			return st, nil // what was said before
		case err != nil:
			return st, err
		}
		st = now
		if at := c.good.Load(); st.Leads || st.Partial == "" || at == nil || !mayFollow(*at, st.LeaderURL) {
			return st, nil
		}
		if led, err := c.statusAt(ctx, strings.TrimRight(st.LeaderURL, "/")); err == nil {
			return led, nil
		}
	}
	return st, nil
}

func (c *Client) statusAt(ctx context.Context, leader string) (st api.Status, err error) {
	resp, err := c.knockAndAsk(ctx, leader, request{method: http.MethodGet, path: "/v1/status"})
	if err != nil {
		return st, err
	}
	defer resp.Body.Close()
	return st, json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&st)
}

// Ready is nil if the server can take part; it needs no token.
func (c *Client) Ready(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/readyz", nil, nil, nil)
}

// Doctor asks for everything that would stop a recovery.
func (c *Client) Doctor(ctx context.Context) (api.Diagnosis, error) {
	return call[api.Diagnosis](ctx, c, http.MethodGet, "/v1/doctor", nil, nil)
}

// Audit lists the operators' acts since a time (zero: all that is kept).
func (c *Client) Audit(ctx context.Context, since time.Time) ([]api.AuditEntry, error) {
	q := url.Values{}
	if !since.IsZero() {
		q.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	out, err := call[struct {
		Entries []api.AuditEntry `json:"entries"`
	}](ctx, c, http.MethodGet, "/v1/audit", q, nil)
	return out.Entries, err
}

// Arm arms the cloud, in shadow mode if asked.
func (c *Client) Arm(ctx context.Context, r api.ArmRequest) (api.Reply, error) {
	return call[api.Reply](ctx, c, http.MethodPost, "/v1/arm", nil, r)
}

// Disarm stops all new action.
func (c *Client) Disarm(ctx context.Context, reason string) (api.Reply, error) {
	return call[api.Reply](ctx, c, http.MethodPost, "/v1/disarm", nil, api.ReasonRequest{Reason: reason})
}

// CreateToken makes a token for a host's agent; life 0 is the server's default.
func (c *Client) CreateToken(ctx context.Context, host string, life time.Duration) (api.Token, error) {
	r := api.TokenRequest{Host: host}
	if life > 0 {
		r.Life = life.String()
	}
	return call[api.Token](ctx, c, http.MethodPost, "/v1/tokens", nil, r)
}
