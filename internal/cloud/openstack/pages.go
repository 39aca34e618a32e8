package openstack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
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

// one reads a list that comes whole.
func one[T any](ctx context.Context, c *Client, path, key string) ([]T, error) {
	var body map[string]json.RawMessage
	if _, err := c.nova(ctx, cloud.Lowest, path, &body); err != nil {
		return nil, err
	}
	return listOf[T](body, key)
}
