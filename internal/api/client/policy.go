package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// Policy is the one in force.
func (c *Client) Policy(ctx context.Context) (api.Policy, error) {
	return call[api.Policy](ctx, c, http.MethodGet, "/v1/policy", nil, nil)
}

// ApplyPolicy puts a policy in force; one with mistakes is an *api.Problem with Mistakes, and nothing is changed.
func (c *Client) ApplyPolicy(ctx context.Context, f api.File) (api.Policy, error) {
	return call[api.Policy](ctx, c, http.MethodPut, "/v1/policy", nil, f)
}

// CheckPolicy reads a policy and changes nothing.
func (c *Client) CheckPolicy(ctx context.Context, f api.File) (api.PolicyCheck, error) {
	return call[api.PolicyCheck](ctx, c, http.MethodPost, "/v1/policy/check", nil, f)
}

// DiffPolicy lists the VMs that it would treat differently.
func (c *Client) DiffPolicy(ctx context.Context, f api.File) (api.PolicyDiff, error) {
	return call[api.PolicyDiff](ctx, c, http.MethodPost, "/v1/policy/diff", nil, f)
}

// ExplainPolicy goes through the rules for the VMs with this id or name.
func (c *Client) ExplainPolicy(ctx context.Context, vm string) ([]api.PolicyVerdict, error) {
	out, err := call[struct {
		VMs []api.PolicyVerdict `json:"vms"`
	}](ctx, c, http.MethodGet, "/v1/policy/explain", url.Values{"vm": {vm}}, nil)
	return out.VMs, err
}

type deviceList struct {
	Devices []api.Device
	api.Following
}

func (d deviceList) entries() []api.Device { return d.Devices }
func (d deviceList) next() string          { return d.Next }

// Devices lists all fence devices with their last check.
func (c *Client) Devices(ctx context.Context) ([]api.Device, error) {
	return whole[deviceList](ctx, c, "/v1/fence", url.Values{})
}

// CheckDevices checks the devices of these hosts (none: of all) now.
func (c *Client) CheckDevices(ctx context.Context, hosts []string) ([]api.Device, error) {
	out, err := call[struct {
		Devices []api.Device `json:"devices"`
	}](ctx, c, http.MethodPost, "/v1/fence/check", nil, api.HostsRequest{Hosts: hosts})
	return out.Devices, err
}

// ImportDevices brings in a devices.yaml.
func (c *Client) ImportDevices(ctx context.Context, f api.File) (api.Imported, error) {
	return call[api.Imported](ctx, c, http.MethodPost, "/v1/fence/import", nil, f)
}

// BindDevices binds a host's devices on the operator's word.
func (c *Client) BindDevices(ctx context.Context, host, reason string) (api.Reply, error) {
	return call[api.Reply](ctx, c, http.MethodPost, "/v1/fence/bind", nil, api.BindRequest{Host: host, Reason: reason})
}
