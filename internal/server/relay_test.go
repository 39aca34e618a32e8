package server

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
	"github.com/ninelives-ha/ninelives/proto/peerv1"
)

// quietHost is an agent that only pulses.
type quietHost struct{}

func (quietHost) Connected(string, *agentv1.Welcome)           {}
func (quietHost) Order(string, *agentv1.FromServer, time.Time) {}
func (quietHost) Changed(transport.ServerState)                {}

// pulses starts an agent of a host that reaches these servers, and no other that it is told of.
func (x *trio) pulses(t *testing.T, host string, n int, servers ...*Server) *transport.Uplinks {
	t.Helper()
	machine := pki.Machine{UUID: uuid(n)}
	cred, err := x.ca.IssueAgent(host, machine, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	boot, err := transport.ParseBoot(uuid(n + 100))
	if err != nil {
		t.Fatal(err)
	}
	var at []string
	for _, s := range servers {
		at = append(at, s.AgentsAddr().String())
	}
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		if !slices.Contains(at, addr) {
			return nil, errors.New("no route to host")
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}
	up, err := transport.Dial(transport.AgentOptions{Servers: at, Credentials: cred, DialContext: dial, Handler: quietHost{}, Hello: func() *agentv1.Hello {
		return &agentv1.Hello{Host: host, Boot: boot.Bytes(), Machine: &agentv1.Machine{Uuid: machine.UUID}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	up.Start()
	t.Cleanup(up.Close)
	return up
}

// TestRelayedLife: a pulse that only another server hears is life to the leader, and its end is the end of it.
func TestRelayedLife(t *testing.T) {
	t.Parallel()
	x := startTrio(t, 3)
	leader := x.lead(t, "server-1")
	up := x.pulses(t, "host-01", 1, x.servers["server-2"])
	x.pulses(t, "host-02", 2, leader, x.servers["server-2"], x.servers["server-3"])
	is := func(v detect.Verdict, suspect bool) func() bool {
		return func() bool {
			as, ok := leader.ears.assess("host-01")
			return ok && as.Verdict == v && as.Suspect == suspect
		}
	}
	// That its agent has joined is on record by the server that heard it; the leader of this test is told by hand.
	leader.knows("host-01", id(1), nil)
	leader.want()
	waitFor(t, "host-01 is up to a server that doesn't hear it", is(detect.Up, false))
	up.Close()
	waitFor(t, "host-01 is suspected when nobody hears it", func() bool { as, _ := leader.ears.assess("host-01"); return as.Suspect })
}

// TestHalfBlindLeader: a leader that hears less than half of what another server hears hands over, to that one.
func TestHalfBlindLeader(t *testing.T) {
	t.Parallel()
	x := startTrio(t, 3)
	leader := x.lead(t, "server-1")
	for n, host := range []string{"host-01", "host-02", "host-03"} {
		x.pulses(t, host, n, x.servers["server-3"])
	}
	waitFor(t, "server-3 hears them", func() bool { return x.servers["server-3"].sight.count() == 3 })
	waitFor(t, "server-3 leads", func() bool { return x.servers["server-3"].reign.Load() != nil })
	if leader.reign.Load() != nil {
		t.Error("server-1 leads, too")
	}
}

func TestBlindness(t *testing.T) {
	t.Parallel()
	at := time.Unix(0, 0)
	for name, tc := range map[string]struct {
		sees   int
		doubts bool
		others map[string]other
		want   []string
	}{
		"sees as much":              {sees: 100, others: map[string]other{"b": {sees: 100}}},
		"half is enough":            {sees: 50, others: map[string]other{"b": {sees: 100}}},
		"less than half":            {sees: 49, others: map[string]other{"b": {sees: 100}, "c": {sees: 40}}, want: []string{"b"}},
		"not to one who sees less":  {sees: 10, others: map[string]other{"b": {sees: 100}, "c": {sees: 11}}, want: []string{"b"}},
		"to either of two":          {sees: 0, others: map[string]other{"c": {sees: 90}, "b": {sees: 100}}, want: []string{"b", "c"}},
		"another one's doubt":       {sees: 0, others: map[string]other{"b": {sees: 100, doubts: true}}},
		"our own doubt":             {sees: 0, doubts: true, others: map[string]other{"b": {sees: 100}}},
		"nobody answers":            {sees: 0},
		"nobody hears anything":     {sees: 0, others: map[string]other{"b": {}, "c": {}}},
		"the one host of the cloud": {sees: 0, others: map[string]other{"b": {sees: 1}}, want: []string{"b"}},
	} {
		var b blindness
		if got := b.judge(at, tc.sees, tc.doubts, tc.others); got != nil {
			t.Errorf("%s: at once: %v", name, got)
		}
		if got := b.judge(at.Add(blindAfter-time.Millisecond), tc.sees, tc.doubts, tc.others); got != nil {
			t.Errorf("%s: too early: %v", name, got)
		}
		if diff := cmp.Diff(tc.want, b.judge(at.Add(blindAfter), tc.sees, tc.doubts, tc.others)); diff != "" {
			t.Errorf("%s (- expected, + came):\n%s", name, diff)
		}
		if got := b.judge(at.Add(blindAfter+time.Second), tc.sees, tc.doubts, tc.others); got != nil {
			t.Errorf("%s: again at once: %v", name, got)
		}
	}
}

// TestOldLife: what is told too late, or by a server that doubts itself, is no life; what isn't told is no silence.
func TestOldLife(t *testing.T) {
	t.Parallel()
	s := bare(t, nil, Options{})
	s.ears.step(detect.HostKnown{Host: "h", Protected: true})
	s.relays = &relays{s: s, others: map[string]*other{}}
	l := &listening{v: s.relays, name: "server-2", sent: map[uint64]time.Time{}, streams: map[uint32]detect.Pulse{}}
	boot, err := transport.ParseBoot(uuid(7))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	up := func() bool { as, _ := s.ears.assess("h"); return as.Verdict == detect.Up }
	l.asks(1, now)
	l.take(&peerv1.Heard{Streams: []*peerv1.Stream{{Number: 1, Host: "h", Boot: boot.Bytes(), Id: "a"}}, Pulses: []uint32{1}}, now)
	if up() {
		t.Error("a pulse from before the first Ask counts")
	}
	late := now.Add(s.times.InFlight + time.Millisecond)
	l.take(&peerv1.Heard{Since: 1, Pulses: []uint32{1}}, late)
	if up() {
		t.Errorf("a pulse that may be %s old counts", late.Sub(now))
	}
	l.take(&peerv1.Heard{Since: 1, Pulses: []uint32{1}, Doubts: true}, now)
	if up() {
		t.Error("a pulse from a server that doubts itself counts")
	}
	l.take(&peerv1.Heard{Since: 9, Pulses: []uint32{1}}, now)
	if up() {
		t.Error("a pulse of an Ask that was never sent counts")
	}
	l.take(&peerv1.Heard{Since: 1, Pulses: []uint32{1, 99}}, now)
	if !up() {
		t.Error("fresh life doesn't count")
	}
	l.take(&peerv1.Heard{Since: 1}, now)
	if as, _ := s.ears.assess("h"); as.Suspect {
		t.Error("an answer without the host made it suspect")
	}
	l.take(&peerv1.Heard{Since: 1, Lost: []*peerv1.Lost{{Number: 1}}}, now)
	if as, _ := s.ears.assess("h"); as.Suspect {
		t.Error("a stream whose end nobody knows made it suspect")
	}
}

// TestStrangersHearNothing: agents and other CAs get no answer from the port between servers.
func TestStrangersHearNothing(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	other, err := pki.NewInMemory("ninelives", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	agent, err := s.ca.IssueAgent("host-01", pki.Machine{UUID: uuid(1)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.IssueServer("server-2", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, cred := range map[string]*pki.Credentials{"an agent": agent, "another CA's server": foreign} {
		peer, err := transport.DialPeer(s.AgentsAddr().String(), func() *pki.Credentials { return cred }, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		stream, err := peer.Hear(ctx)
		if err == nil {
			if err = stream.Send(&peerv1.Ask{Turn: 1}); err == nil {
				_, err = stream.Recv()
			}
		}
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := peer.Join(ctx, "server-2", "127.0.0.1:1"); err == nil {
			t.Errorf("%s may join", name)
		}
		cancel()
		peer.Close()
	}
}
