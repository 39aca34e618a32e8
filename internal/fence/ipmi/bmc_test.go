package ipmi_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/hal"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/fence/ipmi"
)

const (
	user     = "fencer"
	password = "s3cret-horse"
)

var machineGUID = [16]byte{0x4c, 0x4c, 0x45, 0x44, 0x00, 0x32, 0x4b, 0x10, 0x80, 0x35, 0xb4, 0xc0, 0x4f, 0x38, 0x51, 0x32}

// testBMC is a BMC behind a relay that can lose and forge datagrams.
type testBMC struct {
	address string // of the relay

	mu       sync.Mutex
	on       bool
	commands []bool // power commands that arrived: true is on
	err      error  // answer to power commands
	// lose decides about a datagram to (true) or from (false) the BMC.
	lose func(toBMC bool, d []byte) bool
	// forge is sent to the client before each reply.
	forge func(reply []byte) []byte
	toBMC int // datagrams that came from the client
}

// power is the BMC's hardware; what it doesn't define is the mock's.
type power struct {
	hal.ChassisHAL
	b *testBMC
}

func (p power) PowerState(context.Context) (bool, error) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return p.b.on, nil
}

func (p power) SetPower(_ context.Context, on bool) error {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.b.commands = append(p.b.commands, on)
	if p.b.err == nil {
		p.b.on = on
	}
	return p.b.err
}

type hardware struct {
	*mock.HAL
	b *testBMC
}

func (h hardware) Chassis() hal.ChassisHAL { return power{h.HAL.Chassis(), h.b} }

func startBMC(t *testing.T, privilege bmc.PrivilegeLevel, suites ...types.CipherSuiteID) *testBMC {
	t.Helper()
	b := &testBMC{on: true}
	var opts []bmc.Option
	if len(suites) > 0 {
		opts = append(opts, bmc.WithCipherSuites(suites))
	}
	state := bmc.New(bmc.DeviceInfo{}, machineGUID, hardware{mock.New(), b}, opts...)
	u, err := state.Users.Add(2, user)
	if err != nil {
		t.Fatal(err)
	}
	err = state.Users.Update(u.ID, func(u *bmc.User) error {
		u.SetPassword([]byte(password))
		u.Enabled = true
		u.ChannelAccess = map[uint8]bmc.UserChannelAccess{1: {MaxPrivilege: privilege, Enabled: true}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := server.NewServer(state, conn)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ctx) }()
	t.Cleanup(func() { cancel(); _ = srv.Close(); <-done })
	b.relay(t, conn.LocalAddr())
	return b
}

// relay stands between client and BMC. One client at a time is enough: the
// replies go to who asked last.
func (b *testBMC) relay(t *testing.T, to net.Addr) {
	t.Helper()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.DialUDP("udp", nil, to.(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	b.address = front.LocalAddr().String()
	var client *net.UDPAddr
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := front.ReadFromUDP(buf)
			if err != nil {
				return
			}
			b.mu.Lock()
			client = from
			b.toBMC++
			lost := b.lose != nil && b.lose(true, buf[:n])
			b.mu.Unlock()
			if !lost {
				_, _ = back.Write(buf[:n])
			}
		}
	})
	wg.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := back.Read(buf)
			if err != nil {
				return
			}
			b.mu.Lock()
			to, forge := client, b.forge
			lost := b.lose != nil && b.lose(false, buf[:n])
			b.mu.Unlock()
			if forge != nil {
				if f := forge(buf[:n]); f != nil {
					_, _ = front.WriteToUDP(f, to)
				}
			}
			if !lost {
				_, _ = front.WriteToUDP(buf[:n], to)
			}
		}
	})
	t.Cleanup(func() { _ = front.Close(); _ = back.Close(); wg.Wait() })
}

// set changes the BMC under its lock.
func (b *testBMC) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *testBMC) sentCommands() []bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]bool(nil), b.commands...)
}

// spec names a password file with the given password.
func (b *testBMC) spec(t *testing.T, pass string) fence.Spec {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bmc.pass")
	if err := os.WriteFile(file, []byte(pass+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fence.Spec{Driver: fence.DriverIPMI, Address: b.address, Username: user, PasswordFile: file}
}

// open opens a device and closes it when the test ends.
func open(t *testing.T, spec fence.Spec, timeout time.Duration) fence.Device {
	t.Helper()
	dev, err := fence.Drivers{fence.DriverIPMI: ipmi.Open}.Open(spec, fence.Options{Timeout: timeout, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dev.Close() })
	return dev
}

func granted() error { return nil }
