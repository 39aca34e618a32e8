package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// Policy is the one in force.
func (c *Client) Policy(ctx context.Context) (out api.Policy, err error) {
	return out, c.do(ctx, http.MethodGet, "/v1/policy", nil, nil, &out)
}

// ApplyPolicy puts a policy in force; one with mistakes is an *api.Problem with Mistakes, and nothing is changed.
func (c *Client) ApplyPolicy(ctx context.Context, f api.File) (out api.Policy, err error) {
	return out, c.do(ctx, http.MethodPut, "/v1/policy", nil, f, &out)
}

// CheckPolicy reads a policy and changes nothing.
func (c *Client) CheckPolicy(ctx context.Context, f api.File) (out api.PolicyCheck, err error) {
	return out, c.do(ctx, http.MethodPost, "/v1/policy/check", nil, f, &out)
}

// DiffPolicy lists the VMs that it would treat differently.
func (c *Client) DiffPolicy(ctx context.Context, f api.File) (out api.PolicyDiff, err error) {
	return out, c.do(ctx, http.MethodPost, "/v1/policy/diff", nil, f, &out)
}

// ExplainPolicy goes through the rules for the VMs with this id or name.
func (c *Client) ExplainPolicy(ctx context.Context, vm string) ([]api.PolicyVerdict, error) {
	var out struct {
		VMs []api.PolicyVerdict `json:"vms"`
	}
	err := c.do(ctx, http.MethodGet, "/v1/policy/explain", url.Values{"vm": {vm}}, nil, &out)
	return out.VMs, err
}

// Devices lists all fence devices with their last check.
func (c *Client) Devices(ctx context.Context) ([]api.Device, error) {
	var out struct {
		Devices []api.Device `json:"devices"`
	}
	err := c.do(ctx, http.MethodGet, "/v1/fence", nil, nil, &out)
	return out.Devices, err
}

// CheckDevices checks the devices of these hosts (none: of all) now.
func (c *Client) CheckDevices(ctx context.Context, hosts []string) ([]api.Device, error) {
	var out struct {
		Devices []api.Device `json:"devices"`
	}
	err := c.do(ctx, http.MethodPost, "/v1/fence/check", nil, api.HostsRequest{Hosts: hosts}, &out)
	return out.Devices, err
}

// ImportDevices brings in a devices.yaml.
func (c *Client) ImportDevices(ctx context.Context, f api.File) (out api.Imported, err error) {
	return out, c.do(ctx, http.MethodPost, "/v1/fence/import", nil, f, &out)
}

// BindDevices binds a host's devices on the operator's word.
func (c *Client) BindDevices(ctx context.Context, host, reason string) (out api.Reply, err error) {
	return out, c.do(ctx, http.MethodPost, "/v1/fence/bind", nil, api.BindRequest{Host: host, Reason: reason}, &out)
}
