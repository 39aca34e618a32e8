package openstack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// novaCalls is every question we ask of the compute service, of Placement and of Glance. Each returns the ids that it
// took out of the answer.
var novaCalls = []func(context.Context, *Client) ([]string, error){
	func(ctx context.Context, c *Client) ([]string, error) {
		l, err := c.ServersOn(ctx, "h1")
		var ids []string
		for _, s := range l.Servers {
			ids = append(ids, s.ID)
		}
		return ids, err
	},
	func(ctx context.Context, c *Client) (ids []string, err error) {
		err = c.AllServers(ctx, func(s cloud.Server) error { ids = append(ids, s.ID); return nil })
		if err != nil {
			ids = nil // what came before the error counts for nothing
		}
		return ids, err
	},
	func(ctx context.Context, c *Client) ([]string, error) {
		s, err := c.Server(ctx, "0c8e2b44-0000-4000-8000-000000000001")
		return []string{s.ID}, err
	},
	func(ctx context.Context, c *Client) ([]string, error) {
		l, err := c.Migrations(ctx, cloud.MigrationQuery{SourceHost: "h1", Types: []cloud.MigrationType{cloud.Evacuation}})
		var ids []string
		for _, m := range l.Migrations {
			ids = append(ids, m.ServerID)
		}
		return ids, err
	},
	func(ctx context.Context, c *Client) ([]string, error) { return c.Allocations(ctx, "hv") },
	func(ctx context.Context, c *Client) ([]string, error) { _, err := c.Services(ctx); return nil, err },
	func(ctx context.Context, c *Client) ([]string, error) { _, err := c.Hypervisors(ctx); return nil, err },
	func(ctx context.Context, c *Client) ([]string, error) { _, err := c.Aggregates(ctx); return nil, err },
	func(ctx context.Context, c *Client) ([]string, error) { _, err := c.ServerGroups(ctx); return nil, err },
	func(ctx context.Context, c *Client) ([]string, error) {
		_, err := c.Actions(ctx, "vm")
		return nil, err
	},
	func(ctx context.Context, c *Client) ([]string, error) {
		_, err := c.ImageProperties(ctx, "im")
		return nil, err
	},
}

// answerStatuses leaves out 429 and 498, after which a read waits for seconds and is tried again.
var answerStatuses = []int{200, 204, 301, 400, 401, 404, 409, 503}

// FuzzAnswers answers each question with anything: an answer that makes no sense is an error of a known class, and what
// is taken has an id that can be a record's key.
func FuzzAnswers(f *testing.F) {
	good := server("0c8e2b44-0000-4000-8000-000000000001", `"h1"`)
	for i := range novaCalls {
		for _, s := range []string{
			"", "{}", "[]", "null", `{"servers": null}`, `{"server": {}}`, `{"servers": [` + good + `]}`, `{"server": ` + good + `}`,
			`{"servers": [{"id": "a/b", "status": "UNKNOWN"}], "servers_links": [{"rel": "next", "href": "?marker=x"}]}`,
			`{"migrations": [{"id": 1, "uuid": "u", "instance_uuid": "v", "migration_type": "evacuation", "status": "done", "created_at": "2026-01-02T03:04:05.000000"}]}`,
			`{"services": [{"id": "s", "binary": "nova-compute", "host": "h1", "status": "enabled", "forced_down": null, "updated_at": 5}]}`,
			`{"instanceActions": [{"action": "evacuate", "start_time": "yesterday"}]}`, `{"allocations": {"v": 1}}`,
			`{"aggregates": [{"hosts": null}], "server_groups": [{}], "hypervisors": [{"service": null}]}`, `{"badRequest": {"message": 7}}`, `{"id": "x", "properties": []}`,
		} {
			f.Add(uint8(i), uint8(0), []byte(s))
		}
		f.Add(uint8(i), uint8(5), []byte(`{"itemNotFound": {"message": "no"}}`))
		f.Add(uint8(i), uint8(7), []byte("<html>"))
	}
	var status uint8
	var body []byte
	fake := newFake(f, func(w http.ResponseWriter, _ *http.Request) { // one exchange at a time: no lock is needed
		w.WriteHeader(answerStatuses[int(status)%len(answerStatuses)])
		_, _ = w.Write(body)
	})
	c := fake.client(f, func(o *Options) { o.ReadTimeout, o.WriteTimeout = 5*time.Second, 5*time.Second })
	f.Fuzz(func(t *testing.T, call, st uint8, b []byte) {
		fake.set(func() { fake.asked = nil })
		status, body = st, b
		ids, err := novaCalls[int(call)%len(novaCalls)](t.Context(), c)
		var refused *cloud.Refused
		if err != nil && !errors.Is(err, cloud.ErrUnavailable) && !errors.Is(err, cloud.ErrUnauthorized) && !errors.Is(err, cloud.ErrNotFound) && !errors.As(err, &refused) {
			t.Errorf("an error of no class: %v", err)
		}
		if err != nil {
			return
		}
		for _, id := range ids {
			if !cloud.ValidID(id) {
				t.Errorf("a VM with the id %q was taken", id)
			}
		}
	})
}

// FuzzVerdict answers an evacuation with anything: only a 2xx is a yes, and doubt is never a no.
func FuzzVerdict(f *testing.F) {
	for _, st := range []uint16{200, 202, 204, 301, 400, 401, 404, 408, 409, 429, 500, 503, 504} {
		f.Add(st, []byte(`{"conflictingRequest": {"code": 409, "message": "no"}}`), "keystone")
		f.Add(st, []byte(`{"errors": [{"detail": "x"}]}`), "")
		f.Add(st, []byte(`[[[`), "")
	}
	f.Fuzz(func(t *testing.T, st uint16, body []byte, challenge string) {
		status := int(100 + st%500)
		h := http.Header{}
		if challenge != "" {
			h.Set("Www-Authenticate", challenge)
		}
		err := verdict(&http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader(body))}, "req-1")
		var refused *cloud.Refused
		sure := errors.As(err, &refused)
		switch {
		case (err == nil) != (status >= 200 && status <= 299):
			t.Errorf("%d is %v", status, err)
		case sure && (status >= 500 || status == 408 || status < 300):
			t.Errorf("%d was taken for a clear no: %v", status, err)
		case errors.Is(err, cloud.ErrNotSent) && status != 401 && status != 429:
			t.Errorf("%d was taken for never sent: %v", status, err)
		}
	})
}
