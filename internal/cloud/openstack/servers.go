package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// wireServer is a server as Nova writes it at 2.79, the fields we use.
type wireServer struct {
	ID         string           `json:"id"`
	Name       string           `json:"name"`
	ProjectID  string           `json:"tenant_id"`
	UserID     string           `json:"user_id"`
	Status     string           `json:"status"`
	Host       shown            `json:"OS-EXT-SRV-ATTR:host"`
	Hypervisor string           `json:"OS-EXT-SRV-ATTR:hypervisor_hostname"`
	Zone       string           `json:"OS-EXT-AZ:availability_zone"`
	VMState    string           `json:"OS-EXT-STS:vm_state"`
	TaskState  string           `json:"OS-EXT-STS:task_state"`
	PowerState cloud.PowerState `json:"OS-EXT-STS:power_state"`
	Locked     bool             `json:"locked"`
	Image      imageRef         `json:"image"`
	Flavor     struct {
		Name      string            `json:"original_name"`
		VCPUs     int               `json:"vcpus"`
		RAM       int               `json:"ram"`
		Disk      int               `json:"disk"`
		Ephemeral int               `json:"ephemeral"`
		Swap      int               `json:"swap"`
		Extra     map[string]string `json:"extra_specs"`
	} `json:"flavor"`
	Tags     []string              `json:"tags"`
	Metadata map[string]string     `json:"metadata"`
	Volumes  []struct{ ID string } `json:"os-extended-volumes:volumes_attached"`
	Created  stamp                 `json:"created"`
	Launched stamp                 `json:"OS-SRV-USG:launched_at"`
	Groups   []string              `json:"server_groups"`
}

// shown is a text that may be null, but must be there.
type shown struct {
	there bool
	text  string
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *shown) UnmarshalJSON(b []byte) error {
	s.there = true
	return json.Unmarshal(b, &s.text)
}

// imageRef is "" for a server that boots from a volume, else an object.
type imageRef string

// UnmarshalJSON implements json.Unmarshaler.
func (i *imageRef) UnmarshalJSON(b []byte) error {
	if s := string(b); s == `""` || s == "null" {
		*i = ""
		return nil
	}
	var o struct{ ID string }
	err := json.Unmarshal(b, &o)
	if err == nil && o.ID == "" {
		err = errors.New("an image without id")
	}
	*i = imageRef(o.ID)
	return err
}

// unknown is the status of a server whose cell doesn't answer; Nova then knows little more than its id.
const unknown = "UNKNOWN"

func (w wireServer) server() (cloud.Server, error) {
	if !cloud.ValidID(w.ID) {
		return cloud.Server{}, fmt.Errorf("%w: Nova lists a server with the id %q", cloud.ErrUnavailable, w.ID)
	}
	if !w.Host.there && w.Status != unknown {
		return cloud.Server{}, fmt.Errorf("%w: Nova doesn't show us the host of server %s: our user needs the policy os_compute_api:os-extended-server-attributes", cloud.ErrUnauthorized, w.ID)
	}
	s := cloud.Server{
		ID: w.ID, Name: w.Name, ProjectID: w.ProjectID, UserID: w.UserID, Host: w.Host.text, Hypervisor: w.Hypervisor, Zone: w.Zone,
		Status: w.Status, VMState: w.VMState, TaskState: w.TaskState, PowerState: w.PowerState, Locked: w.Locked, ImageID: string(w.Image),
		Flavor: cloud.Flavor{
			Name: w.Flavor.Name, VCPUs: w.Flavor.VCPUs, MemoryMB: w.Flavor.RAM, DiskGB: w.Flavor.Disk,
			EphemeralGB: w.Flavor.Ephemeral, SwapMB: w.Flavor.Swap, ExtraSpecs: w.Flavor.Extra,
		},
		Tags: w.Tags, Metadata: w.Metadata, Created: w.Created.Time, LaunchedAt: w.Launched.Time, ServerGroups: w.Groups,
	}
	for _, v := range w.Volumes {
		s.Volumes = append(s.Volumes, v.ID)
	}
	return s, nil
}

// ServersOn implements cloud.Reader. It keeps only servers whose host is exactly this one: Nova ignores a filter that
// our rights don't allow, and its database may compare without regard to case.
func (c *Client) ServersOn(ctx context.Context, host string) (cloud.ServerList, error) {
	var out cloud.ServerList
	var err error
	out.Date, err = c.servers(ctx, url.Values{"host": {host}}, func(s cloud.Server) error {
		if s.Host == host {
			out.Servers = append(out.Servers, s)
		}
		return nil
	})
	if err != nil {
		return cloud.ServerList{}, fmt.Errorf("cannot list servers on %s: %w", host, err)
	}
	return out, nil
}

// AllServers implements cloud.Reader.
func (c *Client) AllServers(ctx context.Context, yield func(cloud.Server) error) error {
	if _, err := c.servers(ctx, url.Values{}, yield); err != nil {
		return fmt.Errorf("cannot list all servers: %w", err)
	}
	return nil
}

func (c *Client) servers(ctx context.Context, q url.Values, yield func(cloud.Server) error) (time.Time, error) {
	q.Set("all_tenants", "1")
	q.Set("limit", strconv.Itoa(pageSize))
	l := listing{mv: cloud.Lowest, path: "servers/detail", key: "servers", query: q}
	return pages(ctx, c, l, func(page []wireServer) error {
		for _, w := range page {
			s, err := w.server()
			if err != nil {
				return err
			}
			if err := yield(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// Server implements cloud.Reader.
func (c *Client) Server(ctx context.Context, id string) (cloud.Server, error) {
	var doc struct{ Server *wireServer }
	if _, err := c.nova(ctx, cloud.Lowest, "servers/"+url.PathEscape(id), &doc); err != nil {
		return cloud.Server{}, fmt.Errorf("cannot read server %s: %w", id, err)
	}
	if doc.Server == nil {
		return cloud.Server{}, fmt.Errorf("cannot read server %s: %w: the answer has no server", id, cloud.ErrUnavailable)
	}
	return doc.Server.server()
}
