package wire

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	ipmi "github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/handlers"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// bmc is a running BMC, of either kind.
type bmc struct {
	driver, address string
	udp             *server.Server
	web             *http.Server
}

func (b *bmc) close() {
	if b.udp != nil {
		_ = b.udp.Close() // it only closes a socket
	}
	if b.web != nil {
		_ = b.web.Close()
	}
}

// Device is how a host's BMC is reached, in the words of devices.yaml.
type Device struct {
	Driver, Address, User, Password string
}

// BMC says how a host's BMC is reached. A Redfish one shows a certificate that
// [Cloud.RedfishCA] has signed.
func (c *Cloud) BMC(host string) Device {
	var d Device
	c.World(func(w *world.World) {
		b := w.Host(host).BMC
		d = Device{c.bmcs[host].driver, c.bmcs[host].address, b.User, b.Password}
	})
	return d
}

func (c *Cloud) startBMC(ctx context.Context, host string) (*bmc, error) {
	h := c.w.Host(host)
	if h.BMC.Driver == "redfish" {
		return c.startRedfish(ctx, host)
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	hw := &hardware{c: c, host: host}
	// The controller has a GUID of its own, apart from the machine's.
	own := rawUUID(h.HypUUID)
	own[0] ^= 0xff
	state := ipmi.New(ipmi.DeviceInfo{DeviceID: 0x20, IPMIVersion: 0x20, ManufacturerID: 0x157}, own, hw)
	user, err := state.Users.Add(2, h.BMC.User)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	user.SetPassword([]byte(h.BMC.Password))
	user.Enabled = true
	user.ChannelAccess[1] = ipmi.UserChannelAccess{MaxPrivilege: ipmi.PrivilegeLevelAdministrator, Enabled: true}
	reg := handlers.NewRegistry()
	handlers.RegisterAllHandlers(reg)
	reg.RegisterFunc(types.CommandGetSystemGUID, hw.systemGUID)
	srv := server.NewServer(state, &moodyConn{UDPConn: conn, answers: hw.answers}, server.WithHandlerRegistry(reg), server.WithV15Disabled())
	c.wg.Go(func() { _ = srv.Serve(c.ctx) }) // ends with Close, and then has nothing to say
	return &bmc{driver: "ipmi", address: conn.LocalAddr().String(), udp: srv}, nil
}

// moodyConn is the BMC's socket. A dead BMC's takes everything and says nothing.
type moodyConn struct {
	*net.UDPConn
	answers func() bool
}

// ReadFrom implements transport.PacketConn.
func (m *moodyConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, addr, err := m.UDPConn.ReadFrom(b)
		if err != nil || m.answers() {
			return n, addr, err
		}
	}
}

// WriteTo implements transport.PacketConn.
func (m *moodyConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if !m.answers() { // it died while it worked on the request
		return len(b), nil
	}
	return m.UDPConn.WriteTo(b, addr)
}

// hardware is what the BMC's firmware acts on: the world.
type hardware struct {
	c    *Cloud
	host string
}

func (h *hardware) answers() (yes bool) {
	h.c.World(func(w *world.World) { yes = w.BMCAnswers(h.host) })
	return yes
}

// slow takes the time that a slow BMC takes.
func (h *hardware) slow() {
	var b world.BMC
	h.c.World(func(w *world.World) { b = w.Host(h.host).BMC })
	h.c.pause(b.Slow)
}

func (h *hardware) systemGUID(context.Context, *handlers.HandlerContext, []byte) ([]byte, types.CompletionCode, error) {
	h.slow()
	var id string
	h.c.World(func(w *world.World) { id, _ = w.BMCIdentity(h.host) })
	// As most firmware does: the SMBIOS form, first three fields little-endian (DSP0134, 7.2.1).
	raw := rawUUID(id)
	slices.Reverse(raw[0:4])
	slices.Reverse(raw[4:6])
	slices.Reverse(raw[6:8])
	return raw[:], types.CodeOK, nil
}

func rawUUID(s string) (raw [16]byte) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return raw // a test's broken identity is shown as all zero, which firmware does too
	}
	copy(raw[:], b)
	return raw
}

// completion is the IPMI completion code for a refusal of the world's.
func completion(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, world.ErrBMCAlready), errors.Is(err, world.ErrBMCTooEarly):
		return types.CompletionCode(0xd5) // not supported in present state
	}
	return fmt.Errorf("cannot switch power: %w", err)
}

// PowerState implements hal.ChassisHAL, as do the following.
func (h *hardware) PowerState(context.Context) (on bool, err error) {
	h.slow()
	h.c.World(func(w *world.World) { on, err = w.BMCPower(h.host) })
	return on, err
}

// SetPower switches the machine.
func (h *hardware) SetPower(_ context.Context, on bool) (err error) {
	h.slow()
	h.c.World(func(w *world.World) { err = w.BMCSet(h.host, on) })
	return completion(err)
}

// PowerCycle switches it off and on.
func (h *hardware) PowerCycle(context.Context) (err error) {
	h.slow()
	h.c.World(func(w *world.World) { err = w.BMCCycle(h.host) })
	return completion(err)
}

// ColdReset is a reset: for guests the same as a power cycle.
func (h *hardware) ColdReset(ctx context.Context) error { return h.PowerCycle(ctx) }

// WarmReset is a graceful shutdown, which the simulated machines don't do.
func (h *hardware) WarmReset(context.Context) error { return hal.ErrNotSupported }

// Identify blinks nothing.
func (h *hardware) Identify(context.Context, uint8) error { return nil }

// IntrusionState is not measured.
func (h *hardware) IntrusionState(context.Context) (bool, error) { return false, hal.ErrNotSupported }

// SetBootFlags is not supported.
func (h *hardware) SetBootFlags(context.Context, *types.BootOptionParam_BootFlags) error {
	return hal.ErrNotSupported
}

// GetBootFlags is not supported.
func (h *hardware) GetBootFlags(context.Context) (*types.BootOptionParam_BootFlags, error) {
	return nil, hal.ErrNotSupported
}

// SetBootInfoAcknowledge is not supported.
func (h *hardware) SetBootInfoAcknowledge(context.Context, *types.BootOptionParam_BootInfoAcknowledge) error {
	return hal.ErrNotSupported
}

// GetBootInfoAcknowledge is not supported.
func (h *hardware) GetBootInfoAcknowledge(context.Context) (*types.BootOptionParam_BootInfoAcknowledge, error) {
	return nil, hal.ErrNotSupported
}

// Chassis implements hal.HAL; the simulated BMC has nothing else.
func (h *hardware) Chassis() hal.ChassisHAL { return h }

// Sensors implements hal.HAL.
func (h *hardware) Sensors() hal.SensorHAL { return nil }

// Storage implements hal.HAL.
func (h *hardware) Storage() hal.StorageHAL { return nil }

// Network implements hal.HAL.
func (h *hardware) Network() hal.NetworkHAL { return nil }

// GPIO implements hal.HAL.
func (h *hardware) GPIO() hal.GPIOHAL { return nil }

// I2C implements hal.HAL.
func (h *hardware) I2C() hal.I2CHAL { return nil }

// Console implements hal.HAL.
func (h *hardware) Console() hal.ConsoleHAL { return nil }

// Close implements hal.HAL.
func (h *hardware) Close() error { return nil }
