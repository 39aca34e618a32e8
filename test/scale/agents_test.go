//go:build scale

package scale

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// fleet is the second process: light agents that share it.
type fleet struct {
	agents []*lightAgent
	turns  chan struct{} // handshakes under way: see dial
	linked atomic.Int64
	dead   []atomic.Bool
}

type lightAgent struct {
	f     *fleet
	i     int
	boot  transport.Boot
	links *transport.Uplinks

	connecting atomic.Pointer[func()]
}

// fleetSpec is what the fleet is told.
type fleetSpec struct {
	Hosts  int    `json:"hosts"`
	Server string `json:"server"`
	CA     string `json:"ca"` // directory
}

// command is one line of its standard input; it answers each with one line, a count.
type command struct {
	Do   string `json:"do"` // count, kill
	From int    `json:"from"`
	To   int    `json:"to"`
}

// runFleet ends with its standard input.
func runFleet(s fleetSpec) error {
	debug.SetGCPercent(300) // its memory isn't counted, its processor time is taken from the server's
	ca, err := pki.Load(s.CA)
	if err != nil {
		return err
	}
	f := &fleet{turns: make(chan struct{}, 64), dead: make([]atomic.Bool, s.Hosts)}
	for i := range s.Hosts {
		creds, err := ca.IssueAgent(hostName(i), pki.Machine{UUID: machineID(i)}, time.Now())
		if err != nil {
			return err
		}
		a := &lightAgent{f: f, i: i, boot: transport.Boot{0: 1, 12: byte(i >> 16), 13: byte(i >> 8), 14: byte(i), 15: 1}}
		a.links, err = transport.Dial(transport.AgentOptions{
			Servers: []string{s.Server}, Credentials: creds, Hello: a.hello, Handler: a, DialContext: a.dial,
		})
		if err != nil {
			return err
		}
		f.agents = append(f.agents, a)
	}
	fmt.Println(len(f.agents))
	for _, a := range f.agents {
		a.links.Start()
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var c command
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			return err
		}
		if c.Do == "kill" {
			for i := c.From; i < c.To; i++ {
				f.dead[i].Store(true)
			}
		}
		fmt.Println(f.linked.Load())
	}
	return nil
}

// silent is a connection whose host may lose its power: then nothing more leaves, and nothing comes.
type silent struct {
	net.Conn
	dead *atomic.Bool
	done func() // its handshake, or it
}

func (s *silent) Write(b []byte) (int, error) {
	if s.dead.Load() {
		return len(b), nil
	}
	return s.Conn.Write(b)
}

func (s *silent) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.dead.Load() {
		select {} // a machine without power reads nothing, and its kernel closes nothing
	}
	return n, err
}

func (s *silent) Close() error {
	s.done()
	if s.dead.Load() {
		return nil
	}
	return s.Conn.Close()
}

// SyscallConn lets the agent ask its kernel whether the server's one confirms what is sent.
func (s *silent) SyscallConn() (syscall.RawConn, error) { return s.Conn.(syscall.Conn).SyscallConn() }

// dial connects, some at once: 10,000 machines have 10,000 processors for their handshakes, and this process has not.
func (a *lightAgent) dial(ctx context.Context, addr string) (net.Conn, error) {
	dead := &a.f.dead[a.i]
	if dead.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case a.f.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	done := sync.OnceFunc(func() { <-a.f.turns })
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		done()
		return nil, err
	}
	a.connecting.Store(&done)
	return &silent{conn, dead, done}, nil
}

func address(i, plane int) string {
	return fmt.Sprintf("198.%d.%d.%d", 18+plane, i>>8, i&0xff)
}

func (a *lightAgent) hello() *agentv1.Hello {
	return &agentv1.Hello{
		Host: hostName(a.i), Boot: a.boot.Bytes(), Machine: &agentv1.Machine{Uuid: machineID(a.i)}, AgentVersion: "scale",
		Planes: map[string]string{"management": address(a.i, 0), "storage": address(a.i, 1)}, ProbePort: 7403, GuestsKnown: true,
		Labels: map[string]string{"rack": fmt.Sprintf("r%03d", a.i/40)},
		Nova:   &agentv1.Nova{Host: hostName(a.i), HypervisorHostname: hostName(a.i), ConfigPath: "/etc/nova/nova.conf"},
	}
}

// Connected tells what a real agent tells.
func (a *lightAgent) Connected(addr string, _ *agentv1.Welcome) {
	a.f.linked.Add(1)
	(*a.connecting.Load())()
	guests := &agentv1.Guests{Boot: a.boot.Bytes(), AtSeq: a.links.Seq()}
	for i := range vmsPerHost {
		guests.Guests = append(guests.Guests, &agentv1.Guest{Uuid: vmID(a.i*vmsPerHost + i), State: agentv1.GuestState_GUEST_STATE_RUNNING, Pid: uint32(1000 + i)})
	}
	for _, m := range []*agentv1.FromAgent{
		{Kind: &agentv1.FromAgent_Stores{Stores: &agentv1.Stores{Stores: []*agentv1.Store{{Kind: "nfs", Identity: "10.0.0.1:/instances", Path: "/var/lib/nova/instances"}}}}},
		{Kind: &agentv1.FromAgent_Guests{Guests: guests}},
		{Kind: &agentv1.FromAgent_Gate{Gate: &agentv1.GateState{Open: true, NovaComputeRunning: true, HookInstalled: true, Boot: a.boot.Bytes()}}},
	} {
		_ = a.links.SendTo(addr, m) // a link that ended meanwhile tells it again
	}
}

// Changed counts links.
func (a *lightAgent) Changed(s transport.ServerState) {
	if !s.Connected && s.Name != "" {
		a.f.linked.Add(-1)
	}
}

// Order answers probes by the truth; a probe of the dead takes its whole time.
func (a *lightAgent) Order(addr string, m *agentv1.FromServer, _ time.Time) {
	p := m.GetProbe()
	if p == nil || a.f.dead[a.i].Load() {
		return
	}
	out := &agentv1.Probed{OrderId: p.GetId(), Plane: p.GetPlane()}
	wait := 2 * time.Millisecond
	look := func(targets []*agentv1.ProbeTarget) (list []*agentv1.ProbeResult) {
		for _, t := range targets {
			r := &agentv1.ProbeResult{Host: t.GetHost(), Address: t.GetAddress(), Answer: agentv1.ProbeAnswer_PROBE_ANSWER_AGENT}
			if n := hostNumber(t.GetHost()); n < 0 || a.f.dead[n].Load() {
				r.Answer, wait = agentv1.ProbeAnswer_PROBE_ANSWER_NONE, time.Second
			}
			list = append(list, r)
		}
		return list
	}
	out.Results, out.Controls = look(p.GetTargets()), look(p.GetControls())
	time.AfterFunc(wait, func() {
		_ = a.links.SendTo(addr, &agentv1.FromAgent{Kind: &agentv1.FromAgent_Probed{Probed: out}}) // asked again if it is lost
	})
}
