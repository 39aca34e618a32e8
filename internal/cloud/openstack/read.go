package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// nova reads a path below the compute endpoint into out and returns the answer's headers.
func (c *Client) nova(ctx context.Context, mv cloud.Microversion, path string, out any) (http.Header, error) {
	return c.get(ctx, c.o.ReadTimeout, func(s *session) (*gophercloud.ServiceClient, error) { return s.nova(mv), nil }, path, out)
}

// get is every read but Keystone's: with a deadline, and with its error classified.
func (c *Client) get(ctx context.Context, limit time.Duration, service func(*session) (*gophercloud.ServiceClient, error), path string, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := c.connected(ctx)
	if err != nil {
		return nil, err
	}
	sc, err := service(s)
	if err != nil {
		return nil, err
	}
	resp, err := sc.Get(ctx, sc.Endpoint+path, out, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	if err != nil {
		return nil, c.readError(err)
	}
	return resp.Header, nil
}

// readError puts gophercloud's error into our classes.
func (c *Client) readError(err error) error {
	var renew *gophercloud.ErrUnableToReauthenticate
	if errors.As(err, &renew) {
		return c.loginError(renew.ErrReauth)
	}
	var code gophercloud.ErrUnexpectedResponseCode
	switch {
	case errors.Is(err, cloud.ErrUnavailable):
		return err
	case !errors.As(err, &code):
		return fmt.Errorf("%w: %w", cloud.ErrUnavailable, err)
	}
	msg, id := novaMessage(code.Body), or(code.ResponseHeader.Get("X-Compute-Request-Id"), code.ResponseHeader.Get(headerRequestID))
	switch st := code.Actual; {
	case st == http.StatusUnauthorized:
		return fmt.Errorf("%w: %s doesn't accept our token (401): %s", cloud.ErrUnauthorized, code.URL, msg)
	case st == http.StatusTooManyRequests, st == http.StatusRequestTimeout, st >= 500:
		return fmt.Errorf("%w: answered %d: %s %s", cloud.ErrUnavailable, st, msg, id)
	case st >= 300 && st <= 399:
		return fmt.Errorf("%w: %s redirects (%d) to %s: the endpoint in the catalogue is wrong", cloud.ErrUnavailable, code.URL, st, code.ResponseHeader.Get("Location"))
	case st < 300:
		return fmt.Errorf("%w: unexpected answer %d", cloud.ErrUnavailable, st)
	default:
		return &cloud.Refused{Status: st, Message: msg, RequestID: id}
	}
}

// discover asks Nova which microversions it offers. A legacy endpoint ends in the project's id; the range stands above it.
func (c *Client) discover(ctx context.Context, s *session) (lo, hi cloud.Microversion, err error) {
	root := s.caps.Endpoints["compute"]
	if i := strings.Index(root, "/v2.1/"); i >= 0 {
		root = root[:i+len("/v2.1/")]
	}
	var doc struct {
		Version struct {
			Max string `json:"version"`
			Min string `json:"min_version"`
		} `json:"version"`
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.ReadTimeout)
	defer cancel()
	sc := &gophercloud.ServiceClient{ProviderClient: s.provider, Endpoint: root}
	if _, err := sc.Get(ctx, root, &doc, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}}); err != nil {
		return 0, 0, fmt.Errorf("cannot ask Nova at %s for its microversions: %w", root, c.readError(err))
	}
	if lo, err = parseMicroversion(doc.Version.Min); err == nil {
		hi, err = parseMicroversion(doc.Version.Max)
	}
	if err == nil {
		err = usable(lo, hi)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %s: %w", cloud.ErrUnavailable, root, err)
	}
	return lo, hi, nil
}

func parseMicroversion(s string) (cloud.Microversion, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "2."))
	if err != nil || n < 0 || !strings.HasPrefix(s, "2.") {
		return 0, fmt.Errorf("%q is no Nova microversion", s)
	}
	return cloud.Microversion(n), nil
}

// stamp reads Nova's two ways to write a time, both UTC: with Z, and with fractions but no zone. null is zero.
type stamp struct{ time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (s *stamp) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil || text == "" {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t, err = time.Parse("2006-01-02T15:04:05.999999999", text)
	}
	s.Time = t.UTC()
	return err
}
