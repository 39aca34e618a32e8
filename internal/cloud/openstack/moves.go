package openstack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// migrationsVersion tells who asked for a migration, if Nova can.
const migrationsVersion cloud.Microversion = 80

type wireMigration struct {
	ID        int                 `json:"id"`
	UUID      string              `json:"uuid"`
	ServerID  string              `json:"instance_uuid"`
	Type      cloud.MigrationType `json:"migration_type"`
	Source    string              `json:"source_compute"`
	Dest      string              `json:"dest_compute"`
	Status    string              `json:"status"`
	UserID    string              `json:"user_id"`
	ProjectID string              `json:"project_id"`
	Created   stamp               `json:"created_at"`
	Updated   stamp               `json:"updated_at"`
}

// Migrations implements cloud.Reader.
func (c *Client) Migrations(ctx context.Context, q cloud.MigrationQuery) (cloud.MigrationList, error) {
	var out cloud.MigrationList
	loginCtx, cancel := context.WithTimeout(ctx, c.o.ReadTimeout)
	defer cancel()
	s, err := c.connected(loginCtx)
	if err != nil {
		return out, fmt.Errorf("cannot list migrations: %w", err)
	}
	l := listing{mv: min(s.caps.Max, migrationsVersion), path: "os-migrations", key: "migrations", query: migrationFilter(q)}
	out.Date, err = pages(ctx, c, l, func(page []wireMigration) error {
		for _, w := range page {
			if !cloud.ValidID(w.ServerID) {
				return fmt.Errorf("%w: migration %d is of a server with the id %q", cloud.ErrUnavailable, w.ID, w.ServerID)
			}
			if len(q.Types) == 0 || slices.Contains(q.Types, w.Type) {
				out.Migrations = append(out.Migrations, w.migration())
			}
		}
		return nil
	})
	if err != nil {
		return cloud.MigrationList{}, fmt.Errorf("cannot list migrations: %w", err)
	}
	return out, nil
}

func (w wireMigration) migration() cloud.Migration {
	return cloud.Migration{
		ID: w.ID, UUID: w.UUID, ServerID: w.ServerID, Type: w.Type, Source: w.Source, Dest: w.Dest, Status: w.Status,
		UserID: w.UserID, ProjectID: w.ProjectID, Created: w.Created.Time, Updated: w.Updated.Time,
	}
}

// migrationFilter is what Nova filters; it takes one type only, so several are picked out by us.
func migrationFilter(q cloud.MigrationQuery) url.Values {
	v := limited(1000) // small records; Nova's own default limit
	for key, s := range map[string]string{"source_compute": q.SourceHost, "host": q.Host, "instance_uuid": q.ServerID} {
		if s != "" {
			v.Set(key, s)
		}
	}
	if len(q.Types) == 1 {
		v.Set("migration_type", string(q.Types[0]))
	}
	if !q.Since.IsZero() {
		v.Set("changes-since", q.Since.UTC().Format(time.RFC3339))
	}
	return v
}

type wireAction struct {
	Name      string `json:"action"`
	RequestID string `json:"request_id"`
	Start     stamp  `json:"start_time"`
	UserID    string `json:"user_id"`
	ProjectID string `json:"project_id"`
	Message   string `json:"message"`
}

// Actions implements cloud.Reader.
func (c *Client) Actions(ctx context.Context, serverID string) ([]cloud.Action, error) {
	var out []cloud.Action
	l := listing{mv: cloud.Lowest, path: "servers/" + url.PathEscape(serverID) + "/os-instance-actions", key: "instanceActions", query: limited(pageSize)}
	_, err := pages(ctx, c, l, func(page []wireAction) error {
		for _, w := range page {
			out = append(out, cloud.Action{Name: w.Name, RequestID: w.RequestID, Start: w.Start.Time, UserID: w.UserID, ProjectID: w.ProjectID, Message: w.Message})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list actions of server %s: %w", serverID, err)
	}
	return out, nil
}

// Allocations implements cloud.Reader.
func (c *Client) Allocations(ctx context.Context, hypervisorID string) ([]string, error) {
	var doc struct {
		Allocations map[string]json.RawMessage `json:"allocations"`
	}
	placement := func(s *session) (*gophercloud.ServiceClient, error) { return s.other("placement") }
	_, err := c.get(ctx, c.o.ReadTimeout, placement, "resource_providers/"+url.PathEscape(hypervisorID)+"/allocations", &doc)
	if err == nil && doc.Allocations == nil {
		err = fmt.Errorf("%w: the answer has no allocations", cloud.ErrUnavailable)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list allocations of hypervisor %s: %w", hypervisorID, err)
	}
	out := make([]string, 0, len(doc.Allocations))
	for id := range doc.Allocations {
		if !cloud.ValidID(id) {
			return nil, fmt.Errorf("cannot list allocations of hypervisor %s: %w: one is of %q", hypervisorID, cloud.ErrUnavailable, id)
		}
		out = append(out, id)
	}
	slices.Sort(out)
	return out, nil
}

// ImageProperties implements cloud.Reader. gophercloud sorts an image's own properties from Glance's fields.
func (c *Client) ImageProperties(ctx context.Context, imageID string) (map[string]string, error) {
	fail := func(err error) error { return fmt.Errorf("cannot read image %s: %w", imageID, err) }
	ctx, cancel := context.WithTimeout(ctx, c.o.ReadTimeout)
	defer cancel()
	s, err := c.connected(ctx)
	if err != nil {
		return nil, fail(err)
	}
	sc, err := s.other("image")
	if err != nil {
		return nil, fail(err)
	}
	sc.ResourceBase = strings.TrimSuffix(sc.Endpoint, "v2/") + "v2/" // catalogues have it with and without
	img, err := images.Get(ctx, sc, imageID).Extract()
	if err != nil {
		return nil, fail(c.readError(err))
	}
	if img == nil { // the answer was "null"
		return nil, fail(fmt.Errorf("%w: the answer has no image", cloud.ErrUnavailable))
	}
	out := map[string]string{}
	for k, v := range img.Properties {
		if text, ok := v.(string); ok { // Glance's schema knows only strings; what isn't one is a newer field of its own
			out[k] = text
		}
	}
	return out, nil
}
