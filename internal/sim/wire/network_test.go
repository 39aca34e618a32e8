package wire_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// pair is a host's connection to a server, and the server's end of it.
func pair(t *testing.T, c *wire.Cloud, host string, p world.Plane) (agent, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	agent, err = c.Dialer(host, p)(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Close(); _ = server.Close() })
	return agent, server
}

func say(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("wrote %d of %q: %v", n, text, err)
	}
}

func hears(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v; want %q", got, err, want)
	}
}

// silent: nothing comes, no end and no error but the deadline's.
func silent(t *testing.T, who string, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(60 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%s heard %d bytes, %v; want silence", who, n, err)
	}
}

func TestPlaneCutKeepsWhatWasSaid(t *testing.T) {
	c := start(t, wire.Options{Hosts: 2, Seed: 3, World: quick()})
	agent, server := pair(t, c, "host-01", world.Storage)
	say(t, agent, "one")
	hears(t, server, "one")
	c.World(func(w *world.World) { w.CutPlane("host-01", world.Storage) })
	say(t, agent, "two")
	say(t, server, "back")
	silent(t, "the server", server)
	silent(t, "the agent", agent)
	other, otherServer := pair(t, c, "host-01", world.Management) // another plane goes on
	say(t, other, "here")
	hears(t, otherServer, "here")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Dialer("host-01", world.Storage)(ctx, "tcp", server.LocalAddr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("connecting over a cut plane: %v, want only the deadline", err)
	}
	c.World(func(w *world.World) { w.HealPlane("host-01", world.Storage) })
	say(t, agent, "three")
	hears(t, server, "twothree")
	hears(t, agent, "back")
}

func TestFreezeStandsStillAndLosesNothing(t *testing.T) {
	c := start(t, wire.Options{Hosts: 1, Seed: 3, World: quick()})
	agent, server := pair(t, c, "host-01", world.Management)
	c.World(func(w *world.World) { w.Freeze("host-01") })
	if err := agent.SetWriteDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a frozen host wrote: %v", err)
	}
	say(t, server, "wake")
	silent(t, "the agent", agent)
	stalled := make(chan error, 1)
	go func() { stalled <- c.Stalled(t.Context(), "host-01", c.Boot("host-01")) }()
	c.World(func(w *world.World) { w.Thaw("host-01") })
	if err := <-stalled; err != nil {
		t.Fatal(err)
	}
	hears(t, agent, "wake")
	say(t, agent, "alive")
	hears(t, server, "alive")
}

func TestPowerCutIsSilentUntilTheNextBoot(t *testing.T) {
	c := start(t, wire.Options{Hosts: 2, Seed: 3, World: quick()})
	agent, server := pair(t, c, "host-01", world.Management)
	boot := c.Boot("host-01")
	c.World(func(w *world.World) { w.PowerCut("host-01") })
	say(t, agent, "lost")
	silent(t, "the server", server)
	if err := agent.Close(); err != nil { // the agent's process is gone; no FIN may leave
		t.Fatal(err)
	}
	silent(t, "the server", server)
	if err := c.Stalled(t.Context(), "host-01", boot); !errors.Is(err, wire.ErrPowerLost) {
		t.Fatalf("the old boot: %v", err)
	}
	if a := c.Probe("host-02", world.Storage, "host-01"); a != world.AnswerNone {
		t.Fatalf("a machine without power answers %s", a)
	}
	c.World(func(w *world.World) { w.PowerOn("host-01") })
	if err := server.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("after the next boot: %d bytes, %v; want a reset", n, err)
	}
	if c.Boot("host-01") == boot {
		t.Fatal("the boot id is the old one")
	}
}
