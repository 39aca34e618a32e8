//go:build scale

package scale

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// bmcAnswers is how long a controller takes.
const bmcAnswers = 100 * time.Millisecond

// startBMCs answers "number name" with "number on" or "number off", over UDP.
func startBMCs(t testing.TB, off func(host int) bool) string {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 256)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			number, name, _ := strings.Cut(string(buf[:n]), " ")
			state := fence.StateOn
			if off(hostNumber(name)) {
				state = fence.StateOff
			}
			time.AfterFunc(bmcAnswers, func() { conn.WriteTo([]byte(number+" "+string(state)), from) }) //nolint:errcheck // lost is lost
		}
	}()
	return conn.LocalAddr().String()
}

// wireToBMCs is the server's end: all devices share one socket.
type wireToBMCs struct {
	conn net.Conn

	mu      sync.Mutex
	last    int
	waiting map[string]chan fence.State
}

func dialBMCs(addr string) (*wireToBMCs, error) {
	conn, err := net.Dial("udp", addr)
	if err != nil {
		return nil, err
	}
	w := &wireToBMCs{conn: conn, waiting: map[string]chan fence.State{}}
	go func() {
		buf := make([]byte, 256)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			number, state, _ := strings.Cut(string(buf[:n]), " ")
			w.mu.Lock()
			if ch := w.waiting[number]; ch != nil {
				ch <- fence.State(state)
			}
			delete(w.waiting, number)
			w.mu.Unlock()
		}
	}()
	return w, nil
}

func (w *wireToBMCs) ask(ctx context.Context, name string) (fence.State, error) {
	ch := make(chan fence.State, 1)
	w.mu.Lock()
	w.last++
	number := fmt.Sprint(w.last)
	w.waiting[number] = ch
	w.mu.Unlock()
	if _, err := fmt.Fprintf(w.conn, "%s %s", number, name); err != nil {
		return fence.StateUnknown, err
	}
	select {
	case s := <-ch:
		return s, nil
	case <-ctx.Done():
		return fence.StateUnknown, fmt.Errorf("%w: %w", fence.ErrUnreachable, ctx.Err())
	case <-time.After(time.Second):
		return fence.StateUnknown, fence.ErrUnreachable
	}
}

// bmc is one host's device. It switches nothing: the bench watches in shadow mode.
type bmc struct {
	wire *wireToBMCs
	host string
}

func (w *wireToBMCs) open(s fence.Spec, _ fence.Options) (fence.Device, error) {
	host, _, _ := strings.Cut(s.Address, ":")
	return &bmc{w, host}, nil
}

func (b *bmc) ID() string     { return "ipmi " + b.host }
func (b *bmc) Driver() string { return fence.DriverIPMI }
func (b *bmc) Via() string    { return b.host }
func (b *bmc) Identity(context.Context) (fence.Identity, error) {
	return fence.Identity{UUID: machineID(hostNumber(b.host))}, nil
}
func (b *bmc) Power(ctx context.Context) (fence.State, error) { return b.wire.ask(ctx, b.host) }
func (b *bmc) Off(_ context.Context, p fence.Permit) error    { return fence.ErrNotSent }
func (b *bmc) On(_ context.Context, p fence.Permit) error     { return fence.ErrNotSent }
func (b *bmc) Check(ctx context.Context) fence.Health         { return fence.Examine(ctx, b) }
func (b *bmc) Close() error                                   { return nil }
