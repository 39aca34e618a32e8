package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

const (
	// pageSize: servers/detail costs Nova about 10 ms of CPU a VM, so a page takes some seconds at most.
	pageSize = 250
	// maxPages bounds a listing (2.5 million entries); one that goes on is a broken server.
	maxPages = 10_000
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

// listing is one of Nova's paged lists.
type listing struct {
	mv    cloud.Microversion
	path  string
	key   string // of the list in the answer; its links are key_links
	query url.Values
}

// pages calls each with every page of a listing and returns when Nova began to answer the first. Of the next link only
// the marker is taken: behind a proxy Nova often names itself wrongly there.
func pages[T any](ctx context.Context, c *Client, l listing, each func([]T) error) (time.Time, error) {
	var began time.Time
	q := url.Values{}
	for k, v := range l.query {
		q[k] = v
	}
	for n := range maxPages {
		var body map[string]json.RawMessage
		service := func(s *session) (*gophercloud.ServiceClient, error) { return s.nova(l.mv), nil }
		h, err := c.get(ctx, 3*c.o.ReadTimeout, service, l.path+"?"+q.Encode(), &body)
		if err != nil {
			return time.Time{}, err
		}
		if n == 0 {
			began = answered(h)
		}
		items, err := listOf[T](body, l.key)
		if err != nil {
			return time.Time{}, err
		}
		if err := each(items); err != nil {
			return time.Time{}, err
		}
		marker, err := nextMarker(body, l.key)
		if err != nil || marker == "" {
			return began, err
		}
		if marker == q.Get("marker") {
			return time.Time{}, fmt.Errorf("%w: the list of %s goes in circles at %s", cloud.ErrUnavailable, l.key, marker)
		}
		q.Set("marker", marker)
	}
	return time.Time{}, fmt.Errorf("%w: the list of %s has no end (%d pages)", cloud.ErrUnavailable, l.key, maxPages)
}

// listOf never takes a missing list for an empty one.
func listOf[T any](body map[string]json.RawMessage, key string) ([]T, error) {
	raw, ok := body[key]
	if !ok || string(raw) == "null" {
		return nil, fmt.Errorf("%w: the answer has no %q", cloud.ErrUnavailable, key)
	}
	var items []T
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, fmt.Errorf("%w: cannot understand %q: %w", cloud.ErrUnavailable, key, err)
	}
	return items, nil
}

func nextMarker(body map[string]json.RawMessage, key string) (string, error) {
	raw, ok := body[key+"_links"]
	if !ok {
		return "", nil
	}
	var links []struct{ Rel, Href string }
	if err := json.Unmarshal(raw, &links); err != nil {
		return "", fmt.Errorf("%w: cannot understand the links of %s: %w", cloud.ErrUnavailable, key, err)
	}
	for _, l := range links {
		if l.Rel != "next" {
			continue
		}
		u, err := url.Parse(l.Href)
		if err != nil || u.Query().Get("marker") == "" {
			return "", fmt.Errorf("%w: the next link of %s has no marker: %s", cloud.ErrUnavailable, key, l.Href)
		}
		return u.Query().Get("marker"), nil
	}
	return "", nil
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
