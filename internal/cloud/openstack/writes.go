package openstack

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// maxReason is Nova's limit of a disabled_reason, in characters.
const maxReason = 255

// serviceBody is the body of PUT /os-services/{uuid}. ForcedDown is always written: an own type, since gophercloud's
// leaves false out, and Nova then takes an empty body.
type serviceBody struct {
	Status     string `json:"status,omitempty"`
	Reason     string `json:"disabled_reason,omitempty"`
	ForcedDown bool   `json:"forced_down"`
}

// TakeOut implements cloud.Writer. One PUT: disabling alone, while Nova believes the service up, is a call to its host
// that takes 60 s if the host is dead.
func (c *Client) TakeOut(ctx context.Context, in cloud.Intent, serviceID string, o cloud.TakeOut) (cloud.Receipt, error) {
	body := serviceBody{ForcedDown: true}
	if o.Disable {
		body.Status, body.Reason = "disabled", o.Reason
	}
	w := write{what: "take service " + serviceID + " out", body: body}
	switch {
	case o.Disable && o.Reason == "":
		return cloud.Receipt{}, notSent(w, errors.New("disabling needs a reason"))
	case !o.Disable && o.Reason != "":
		return cloud.Receipt{}, notSent(w, errors.New("a reason is only kept when disabling"))
	case len([]rune(o.Reason)) > maxReason:
		return cloud.Receipt{}, notSent(w, errors.New("the reason is longer than 255 characters"))
	}
	return c.putService(ctx, in, serviceID, w)
}

// PutBack implements cloud.Writer. Nova stores both changes in one transaction and then tells the host, which lives.
func (c *Client) PutBack(ctx context.Context, in cloud.Intent, serviceID string, o cloud.PutBack) (cloud.Receipt, error) {
	body := serviceBody{ForcedDown: false}
	if o.Enable {
		body.Status = "enabled"
	}
	return c.putService(ctx, in, serviceID, write{what: "put service " + serviceID + " back", body: body})
}

func (c *Client) putService(ctx context.Context, in cloud.Intent, id string, w write) (cloud.Receipt, error) {
	if id == "" {
		return cloud.Receipt{}, notSent(w, errors.New("no service id"))
	}
	w.method, w.path, w.mv = http.MethodPut, "os-services/"+url.PathEscape(id), cloud.Lowest
	return c.send(ctx, in, w)
}

type evacuateBody struct {
	Host string `json:"host,omitempty"`
}

// Evacuate implements cloud.Writer. No onSharedStorage (gone since 2.14) and no force (since 2.68).
func (c *Client) Evacuate(ctx context.Context, in cloud.Intent, serverID string, o cloud.Evacuate) (cloud.Receipt, error) {
	mv := cloud.Lowest
	if o.Stopped {
		ctxLogin, cancel := context.WithTimeout(ctx, c.o.ReadTimeout)
		defer cancel()
		s, err := c.connected(ctxLogin)
		if err != nil {
			return cloud.Receipt{}, notSent(write{what: "evacuate server " + serverID}, err)
		}
		mv = evacuateVersion(s.caps)
	}
	return c.action(ctx, in, "evacuate", serverID, mv, map[string]any{"evacuate": evacuateBody{Host: o.Host}})
}

// evacuateVersion is for a stopped server; one that ran is always asked for at cloud.Lowest, since from 2.95 on every
// evacuated server stays stopped.
func evacuateVersion(caps cloud.Capabilities) cloud.Microversion {
	if caps.KeepsStopped() {
		return cloud.KeepsStopped
	}
	return cloud.Lowest
}

// ResetState implements cloud.Writer.
func (c *Client) ResetState(ctx context.Context, in cloud.Intent, serverID string, s cloud.State) (cloud.Receipt, error) {
	if s != cloud.StateActive && s != cloud.StateError {
		return cloud.Receipt{}, notSent(write{what: "reset the state of server " + serverID}, errors.New("unknown state "+string(s)))
	}
	body := map[string]any{"os-resetState": map[string]any{"state": s}}
	return c.action(ctx, in, "reset the state of", serverID, cloud.Lowest, body)
}

// Start implements cloud.Writer.
func (c *Client) Start(ctx context.Context, in cloud.Intent, serverID string) (cloud.Receipt, error) {
	return c.action(ctx, in, "start", serverID, cloud.Lowest, map[string]any{"os-start": nil})
}

// Stop implements cloud.Writer.
func (c *Client) Stop(ctx context.Context, in cloud.Intent, serverID string) (cloud.Receipt, error) {
	return c.action(ctx, in, "stop", serverID, cloud.Lowest, map[string]any{"os-stop": nil})
}

// Pause implements cloud.Writer.
func (c *Client) Pause(ctx context.Context, in cloud.Intent, serverID string) (cloud.Receipt, error) {
	return c.action(ctx, in, "pause", serverID, cloud.Lowest, map[string]any{"pause": nil})
}

// HardReboot implements cloud.Writer.
func (c *Client) HardReboot(ctx context.Context, in cloud.Intent, serverID string) (cloud.Receipt, error) {
	body := map[string]any{"reboot": map[string]any{"type": "HARD"}}
	return c.action(ctx, in, "hard-reboot", serverID, cloud.Lowest, body)
}

func (c *Client) action(ctx context.Context, in cloud.Intent, verb, id string, mv cloud.Microversion, body any) (cloud.Receipt, error) {
	w := write{what: verb + " server " + id, method: http.MethodPost, path: "servers/" + url.PathEscape(id) + "/action", mv: mv, body: body}
	if id == "" {
		return cloud.Receipt{}, notSent(w, errors.New("no server id"))
	}
	return c.send(ctx, in, w)
}
