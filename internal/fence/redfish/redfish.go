// Package redfish switches machines by the Redfish service of their BMC.
package redfish

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

const systemsPath = "/redfish/v1/Systems"

// device is one system of a Redfish service.
type device struct {
	spec   fence.Spec
	opts   fence.Options
	base   *url.URL
	client *http.Client
	gate   *gate

	turn chan struct{} // one request at a time, and the fields below
	path string        // of the system, once found
}

// Open makes the device of a spec with driver redfish. It is a fence.OpenFunc.
func Open(spec fence.Spec, opts fence.Options) (fence.Device, error) {
	base, err := fence.RedfishURL(spec.Address)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: spec.Insecure} // only where the operator wrote it
	if spec.CAFile != "" {
		pem, err := os.ReadFile(spec.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate", spec.CAFile)
		}
	}
	d := &device{spec: spec, opts: opts.WithDefaults(), base: base, gate: &gate{}, turn: make(chan struct{}, 1)}
	d.client = &http.Client{
		CheckRedirect: sameOrigin,
		Transport: &http.Transport{ // no proxy: a BMC is asked directly
			DialContext: d.gate.dial, DialTLSContext: d.gate.dialTLS(config),
			MaxIdleConns: 1, IdleConnTimeout: 20 * time.Second, DisableCompression: true,
		},
	}
	if spec.System != "" {
		d.path = systemPath(spec.System)
	}
	return d, nil
}

// systemPath makes the path of a system's id or path.
func systemPath(system string) string {
	if strings.HasPrefix(system, "/") {
		return path.Clean(system)
	}
	return systemsPath + "/" + url.PathEscape(system)
}

// ID is "redfish host/system".
func (d *device) ID() string {
	if d.spec.System == "" {
		return "redfish " + d.Via()
	}
	return "redfish " + d.Via() + "/" + path.Base(d.spec.System)
}

// Driver is "redfish".
func (d *device) Driver() string { return fence.DriverRedfish }

// Via is the service's address.
func (d *device) Via() string { return d.base.Host }

// Power reads the system's PowerState.
func (d *device) Power(ctx context.Context) (fence.State, error) {
	s, err := d.read(ctx)
	if err != nil {
		return fence.StateUnknown, err
	}
	return s.power(), nil
}

// Identity reads the system's UUID and serial number.
func (d *device) Identity(ctx context.Context) (fence.Identity, error) {
	s, err := d.read(ctx)
	if err != nil {
		return fence.Identity{}, err
	}
	id := fence.Identity{UUID: s.UUID, Serial: s.SerialNumber}
	if id == (fence.Identity{}) {
		return id, fmt.Errorf("the system has neither UUID nor SerialNumber: %w", fence.ErrNoIdentity)
	}
	return id, nil
}

// Off sends a reset of type ForceOff, never GracefulShutdown.
func (d *device) Off(ctx context.Context, permit fence.Permit) error {
	return d.reset(ctx, permit, "ForceOff")
}

// On sends a reset of type On, or ForceOn where the system knows only that.
func (d *device) On(ctx context.Context, permit fence.Permit) error {
	return d.reset(ctx, permit, "On", "ForceOn")
}

// Check reads the system. Redfish shows what an account may do only by trying;
// a login that may not read the system is found, one that may only read isn't.
func (d *device) Check(ctx context.Context) fence.Health {
	h := fence.Examine(ctx, d)
	if !h.OK() {
		return h
	}
	h.Privilege = fence.Finding{Grade: fence.GradeNone, Words: "Redfish tells what an account may switch only when it switches"}
	s, err := d.read(ctx)
	if err == nil {
		_, err = s.resetTypeOf("ForceOff")
	}
	if err != nil {
		h.Power = fence.Found(err)
	}
	return h
}

// Close gives up idle connections.
func (d *device) Close() error {
	d.client.CloseIdleConnections()
	return nil
}

func (d *device) read(ctx context.Context) (system, error) {
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	defer cancel()
	if err := d.take(ctx); err != nil {
		return system{}, err
	}
	defer d.give()
	return d.system(ctx)
}

// system reads the system's resource; the caller has the turn.
func (d *device) system(ctx context.Context) (system, error) {
	if d.path == "" {
		found, err := d.find(ctx)
		if err != nil {
			return system{}, err
		}
		d.path = found
	}
	data, err := d.do(ctx, http.MethodGet, d.path, nil)
	if err != nil {
		return system{}, err
	}
	var s system
	return s, decode(data, &s)
}

// find returns the path of the only system. With several of them a guess could
// switch somebody else's machine off.
func (d *device) find(ctx context.Context) (string, error) {
	data, err := d.do(ctx, http.MethodGet, systemsPath, nil)
	if err != nil {
		return "", err
	}
	var all collection
	if err := decode(data, &all); err != nil {
		return "", err
	}
	if len(all.Members) == 1 && strings.HasPrefix(all.Members[0].ID, "/") {
		return all.Members[0].ID, nil
	}
	names := make([]string, 0, len(all.Members))
	for _, m := range all.Members[:min(len(all.Members), 32)] {
		names = append(names, path.Base(m.ID))
	}
	return "", fmt.Errorf("the service has %d systems (%s): say which one with system", len(all.Members), strings.Join(names, ", "))
}

// resetTypeOf picks the first of the wanted reset types that the system allows;
// a system that doesn't list them is asked for the first.
func (s system) resetTypeOf(wanted ...string) (string, error) {
	if !strings.HasPrefix(s.Actions.Reset.Target, "/") {
		return "", errors.New("the system offers no ComputerSystem.Reset")
	}
	allowed := s.Actions.Reset.Allowed
	for _, w := range wanted {
		if len(allowed) == 0 || slices.Contains(allowed, w) {
			return w, nil
		}
	}
	return "", fmt.Errorf("the system doesn't allow a reset of type %s, only %s", wanted[0], strings.Join(allowed, ", "))
}

// reset posts one reset.
func (d *device) reset(ctx context.Context, permit fence.Permit, wanted ...string) error {
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	defer cancel()
	if err := d.take(ctx); err != nil {
		return fmt.Errorf("%w: %w", fence.ErrNotSent, err)
	}
	defer d.give()
	s, err := d.system(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", fence.ErrNotSent, err)
	}
	kind, err := s.resetTypeOf(wanted...)
	if err != nil {
		return fmt.Errorf("%w: %w", fence.ErrNotSent, err)
	}
	d.gate.arm(permit)
	_, err = d.do(ctx, http.MethodPost, s.Actions.Reset.Target, fmt.Appendf(nil, `{"ResetType":%q}`, kind))
	sent, denied := d.gate.disarm()
	switch {
	case denied != nil:
		return denied
	case err != nil && !sent:
		return fmt.Errorf("%w: %w", fence.ErrNotSent, err)
	case err != nil:
		return fmt.Errorf("reset %s: %w", kind, err)
	}
	return nil
}

func (d *device) take(ctx context.Context) error {
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s is busy: %w", d.ID(), ctx.Err())
	}
}

func (d *device) give() { <-d.turn }
