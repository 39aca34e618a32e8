package client

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/api"
)

type hosts struct {
	Hosts []api.Host
	api.Following
}

func (h hosts) entries() []api.Host { return h.Hosts }
func (h hosts) next() string        { return h.Next }

// Hosts lists all compute hosts.
func (c *Client) Hosts(ctx context.Context) ([]api.Host, error) {
	return whole[hosts](ctx, c, "/v1/hosts", url.Values{})
}

// Host tells all about one.
func (c *Client) Host(ctx context.Context, name string) (api.HostDetail, error) {
	return call[api.HostDetail](ctx, c, http.MethodGet, "/v1/hosts/"+esc(name), nil, nil)
}

func (c *Client) onHost(ctx context.Context, host, act string, body any) (api.Reply, error) {
	return call[api.Reply](ctx, c, http.MethodPost, "/v1/hosts/"+esc(host)+"/"+act, nil, body)
}

// HostMaintenance switches a host's maintenance.
func (c *Client) HostMaintenance(ctx context.Context, host string, on bool, reason string) (api.Reply, error) {
	return c.onHost(ctx, host, "maintenance", api.MaintenanceRequest{On: on, Reason: reason})
}

// ZoneMaintenance switches a zone's maintenance.
func (c *Client) ZoneMaintenance(ctx context.Context, zone string, on bool, reason string) (api.Reply, error) {
	return call[api.Reply](ctx, c, http.MethodPost, "/v1/zones/"+esc(zone)+"/maintenance", nil, api.MaintenanceRequest{On: on, Reason: reason})
}

// ConfirmDown gives the operator's word that a host is down.
func (c *Client) ConfirmDown(ctx context.Context, host, reason string) (api.Reply, error) {
	return c.onHost(ctx, host, "confirm-down", api.ReasonRequest{Reason: reason})
}

// FenceHost has a host fenced.
func (c *Client) FenceHost(ctx context.Context, host, reason string) (api.Reply, error) {
	return c.onHost(ctx, host, "fence", api.ReasonRequest{Reason: reason})
}

// Readmit brings a host back that was waiting for it.
func (c *Client) Readmit(ctx context.Context, host string) (api.Reply, error) {
	return c.onHost(ctx, host, "readmit", struct{}{})
}

// Rejoin allows another machine to take a host's name over.
func (c *Client) Rejoin(ctx context.Context, host string) (api.Reply, error) {
	return c.onHost(ctx, host, "rejoin", struct{}{})
}

type incidents struct {
	Incidents []api.Incident
	api.Following
}

func (i incidents) entries() []api.Incident { return i.Incidents }
func (i incidents) next() string            { return i.Next }

// Incidents lists incidents: state is open, closed or all, host "" is any.
func (c *Client) Incidents(ctx context.Context, state, host string) ([]api.Incident, error) {
	q := url.Values{}
	if state != "" {
		q.Set("state", state)
	}
	if host != "" {
		q.Set("host", host)
	}
	return whole[incidents](ctx, c, "/v1/incidents", q)
}

// Incident tells all about one.
func (c *Client) Incident(ctx context.Context, id string) (api.IncidentDetail, error) {
	return call[api.IncidentDetail](ctx, c, http.MethodGet, "/v1/incidents/"+esc(id), nil, nil)
}

// Retry lets an incident go on, for one VM (id or name) or all.
func (c *Client) Retry(ctx context.Context, id, vm, reason string) (api.Reply, error) {
	return call[api.Reply](ctx, c, http.MethodPost, "/v1/incidents/"+esc(id)+"/retry", nil, api.RetryRequest{VM: vm, Reason: reason})
}

// Abort gives the rest of an incident up.
func (c *Client) Abort(ctx context.Context, id, reason string) (api.Reply, error) {
	return call[api.Reply](ctx, c, http.MethodPost, "/v1/incidents/"+esc(id)+"/abort", nil, api.ReasonRequest{Reason: reason})
}

type vms struct {
	VMs []api.VM
	api.Following
}

func (v vms) entries() []api.VM { return v.VMs }
func (v vms) next() string      { return v.Next }

// VMs lists VMs on a host and of a project, by host and name; "" is all.
func (c *Client) VMs(ctx context.Context, host, project string) ([]api.VM, error) {
	q := url.Values{}
	if host != "" {
		q.Set("host", host)
	}
	if project != "" {
		q.Set("project", project)
	}
	out, err := whole[vms](ctx, c, "/v1/vms", q)
	slices.SortFunc(out, func(a, b api.VM) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return out, err
}

// VM explains the VMs with this id or name; there may be several.
func (c *Client) VM(ctx context.Context, idOrName string) ([]api.VM, error) {
	out, err := call[struct {
		VMs []api.VM `json:"vms"`
	}](ctx, c, http.MethodGet, "/v1/vms/"+esc(idOrName), nil, nil)
	return out.VMs, err
}

// Plan tells what would happen if these hosts died now.
func (c *Client) Plan(ctx context.Context, hosts []string) (api.Plan, error) {
	return call[api.Plan](ctx, c, http.MethodPost, "/v1/plan", nil, api.HostsRequest{Hosts: hosts})
}
