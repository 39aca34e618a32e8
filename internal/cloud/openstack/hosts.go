package openstack

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

type wireService struct {
	ID         string `json:"id"`
	Binary     string `json:"binary"`
	Host       string `json:"host"`
	Zone       string `json:"zone"`
	Status     string `json:"status"`
	Reason     string `json:"disabled_reason"`
	ForcedDown bool   `json:"forced_down"`
	State      string `json:"state"`
	UpdatedAt  stamp  `json:"updated_at"`
}

// Services implements cloud.Reader.
func (c *Client) Services(ctx context.Context) ([]cloud.Service, error) {
	out, err := c.services(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("cannot list compute services: %w", err)
	}
	return out, nil
}

// Service implements cloud.Reader. Only a service whose host is exactly this one counts: Nova's database may compare
// without regard to case.
func (c *Client) Service(ctx context.Context, host string) (cloud.Service, error) {
	list, err := c.services(ctx, "&host="+url.QueryEscape(host))
	if err != nil {
		return cloud.Service{}, fmt.Errorf("cannot read the compute service of %s: %w", host, err)
	}
	i := slices.IndexFunc(list, func(s cloud.Service) bool { return s.Host == host })
	if i < 0 {
		return cloud.Service{}, fmt.Errorf("%w: Nova knows no nova-compute service of %s", cloud.ErrNotFound, host)
	}
	return list[i], nil
}

func (c *Client) services(ctx context.Context, filter string) ([]cloud.Service, error) {
	list, err := one[wireService](ctx, c, "os-services?binary=nova-compute"+filter, "services")
	if err != nil {
		return nil, err
	}
	var out []cloud.Service
	for _, w := range list {
		if w.Binary != "nova-compute" {
			continue
		}
		out = append(out, cloud.Service{
			ID: w.ID, Host: w.Host, Zone: w.Zone, Disabled: w.Status == "disabled", DisabledReason: w.Reason,
			ForcedDown: w.ForcedDown, State: w.State, UpdatedAt: w.UpdatedAt.Time,
		})
	}
	return out, nil
}

type wireHypervisor struct {
	ID         string                `json:"id"`
	Name       string                `json:"hypervisor_hostname"`
	Type       string                `json:"hypervisor_type"`
	State      string                `json:"state"`
	HostIP     string                `json:"host_ip"`
	VCPUs      int                   `json:"vcpus"`
	VCPUsUsed  int                   `json:"vcpus_used"`
	Memory     int                   `json:"memory_mb"`
	MemoryUsed int                   `json:"memory_mb_used"`
	Running    int                   `json:"running_vms"`
	Service    struct{ Host string } `json:"service"`
}

// Hypervisors implements cloud.Reader. From 2.88 on Nova no longer tells sizes here, so 2.79 it is.
func (c *Client) Hypervisors(ctx context.Context) ([]cloud.Hypervisor, error) {
	var out []cloud.Hypervisor
	l := listing{mv: cloud.Lowest, path: "os-hypervisors/detail", key: "hypervisors", query: limited(pageSize)}
	_, err := pages(ctx, c, l, func(page []wireHypervisor) error {
		for _, w := range page {
			out = append(out, cloud.Hypervisor{
				ID: w.ID, Host: w.Service.Host, Name: w.Name, Type: w.Type, State: w.State, HostIP: w.HostIP, VCPUs: w.VCPUs,
				VCPUsUsed: w.VCPUsUsed, MemoryMB: w.Memory, MemoryUsed: w.MemoryUsed, RunningVMs: w.Running,
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list hypervisors: %w", err)
	}
	return out, nil
}

type wireAggregate struct {
	Name     string            `json:"name"`
	Zone     string            `json:"availability_zone"`
	Hosts    []string          `json:"hosts"`
	Metadata map[string]string `json:"metadata"`
}

// Aggregates implements cloud.Reader.
func (c *Client) Aggregates(ctx context.Context) ([]cloud.Aggregate, error) {
	list, err := one[wireAggregate](ctx, c, "os-aggregates", "aggregates")
	if err != nil {
		return nil, fmt.Errorf("cannot list aggregates: %w", err)
	}
	var out []cloud.Aggregate
	for _, w := range list {
		out = append(out, cloud.Aggregate(w))
	}
	return out, nil
}

type wireGroup struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Policy  string   `json:"policy"`
	Members []string `json:"members"`
}

// ServerGroups implements cloud.Reader. Nova pages these by offset and without links.
func (c *Client) ServerGroups(ctx context.Context) ([]cloud.ServerGroup, error) {
	var out []cloud.ServerGroup
	for n := range maxPages {
		q := limited(pageSize)
		q.Set("all_projects", "true")
		q.Set("offset", strconv.Itoa(n*pageSize))
		page, err := one[wireGroup](ctx, c, "os-server-groups?"+q.Encode(), "server_groups")
		if err != nil {
			return nil, fmt.Errorf("cannot list server groups: %w", err)
		}
		for _, w := range page {
			out = append(out, cloud.ServerGroup(w))
		}
		if len(page) < pageSize {
			return out, nil
		}
	}
	return nil, fmt.Errorf("cannot list server groups: %w: no end after %d pages", cloud.ErrUnavailable, maxPages)
}

func limited(n int) url.Values { return url.Values{"limit": {strconv.Itoa(n)}} }
