package openstack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

const (
	// maxAnswer bounds an answer's body. A page of 1,000 servers with everything is about 5 MB.
	maxAnswer = 64 << 20
	// maxWaits bounds how often one read waits when it is told to (429).
	maxWaits = 3
	// headerRequestID carries the global request id; oslo.middleware takes only "req-" and a uuid.
	headerRequestID = "X-Openstack-Request-Id"
)

func newRequestID() string { return "req-" + uuid.NewString() }

func (c *Client) userAgent() string { return "ninelives/" + or(c.o.Version, "dev") }

// noRedirects: a redirect would carry our token to wherever it says.
func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// readClient is the one that gophercloud uses, for Keystone too. No proxy: a cloud's control plane is reached directly,
// by reads and writes alike.
func (c *Client) readClient() *http.Client {
	return &http.Client{
		CheckRedirect: noRedirects,
		Timeout:       3 * c.o.ReadTimeout, // a net under the deadlines that each call sets
		Transport: bounded{&http.Transport{
			DialContext: c.o.Dial, TLSClientConfig: c.cred.tls.Clone(), TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		}},
	}
}

// bounded gives each request an id and each answer's body an end.
type bounded struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get(headerRequestID) == "" {
		r = r.Clone(r.Context())
		r.Header.Set(headerRequestID, newRequestID())
	}
	resp, err := b.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	return resp, nil
}

// waitAsAsked is gophercloud's hook for 429. It waits as long as Retry-After says (1 s if it doesn't), unless that goes
// past the deadline: then there is no point in waiting.
func (c *Client) waitAsAsked(ctx context.Context, e *gophercloud.ErrUnexpectedResponseCode, _ error, n uint) error {
	wait := time.Second
	if s := e.ResponseHeader.Get("Retry-After"); s != "" {
		if n, err := strconv.Atoi(s); err == nil && n >= 0 {
			wait = time.Duration(n) * time.Second
		} else if at, err := http.ParseTime(s); err == nil {
			wait = max(0, time.Until(at))
		}
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < wait {
		return fmt.Errorf("%w: too many requests (429), asked to wait for %s", cloud.ErrUnavailable, wait)
	}
	c.o.Logger.Warn("the cloud asks us to wait", "url", e.URL, "wait", wait, "attempt", n)
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readSome reads an answer's body, as far as it goes: its status has already said what counts.
func readSome(r io.Reader) []byte {
	b, _ := io.ReadAll(io.LimitReader(r, 64<<10))
	return b
}
