package transport

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

func alert(text string) *agentv1.FromAgent {
	return &agentv1.FromAgent{Kind: &agentv1.FromAgent_Alert{Alert: &agentv1.Alert{Text: text}}}
}

func killOrder(id, epoch uint64, validity time.Duration) *agentv1.FromServer {
	return &agentv1.FromServer{Kind: &agentv1.FromServer_Order{Order: &agentv1.Order{
		Id: id, Epoch: epoch, DeadlineMs: uint32(validity.Milliseconds()), Kind: agentv1.OrderKind_ORDER_KIND_KILL_GUEST,
	}}}
}

func TestPulsesAcksMessagesOrders(t *testing.T) {
	p := newPlace(t, nil)
	u, h := p.dial(t, nil)
	if addr := next(t, h.connected, "Connected"); addr != p.addr {
		t.Fatalf("connected to %s, want %s", addr, p.addr)
	}
	if s := next(t, h.changed, "Changed"); !s.Connected || s.Name != "server-1" {
		t.Fatalf("state is %+v, want connected to server-1", s)
	}
	l := next(t, p.handler.links, "Hello")
	if l.Host() != "h1" || l.Boot() != bootA || l.Machine() != m1 || l.Remote() == "" || l.Serial() == "" {
		t.Fatalf("link is %s %s %s %q %q", l.Host(), l.Boot(), l.Machine(), l.Remote(), l.Serial())
	}
	for want := uint64(1); want <= 3; want++ {
		if seq := next(t, p.handler.pulses, "a pulse"); seq != want {
			t.Fatalf("pulse %d, want %d", seq, want)
		}
	}
	for deadline := time.Now().Add(patience); u.States()[0].LastAck.IsZero(); {
		if time.Now().After(deadline) {
			t.Fatal("no ack came")
		}
		next(t, p.handler.pulses, "a pulse")
	}
	if u.Epoch() != 7 || u.Connected() != 1 || u.Seq() < 3 {
		t.Fatalf("epoch %d, connected %d, seq %d", u.Epoch(), u.Connected(), u.Seq())
	}

	if n := u.Send(alert("one")); n != 1 {
		t.Fatalf("queued for %d servers, want 1", n)
	}
	must(t, u.SendTo(p.addr, alert("two")))
	wantError(t, u.SendTo("10.9.9.9:1", alert("three")), "there is no server")
	for _, want := range []string{"one", "two"} {
		if got := next(t, p.handler.msgs, "an alert").GetAlert().GetText(); got != want {
			t.Fatalf("alert %q, want %q", got, want)
		}
	}

	before := time.Now()
	must(t, l.Send(killOrder(4, 7, time.Minute)))
	if m := next(t, h.orders, "an order"); m.GetOrder().GetId() != 4 || m.GetHeardSeq() == 0 {
		t.Fatalf("order is %v", m)
	}
	if until := next(t, h.untils, "its end"); until.After(before.Add(time.Minute)) || until.Before(before.Add(50*time.Second)) {
		t.Fatalf("valid until %s after it was given, want a little less than its minute", until.Sub(before))
	}
}

func TestOrdersOfAnOlderEpochAreRefused(t *testing.T) {
	p := newPlace(t, nil)
	u, h := p.dial(t, nil)
	l := next(t, p.handler.links, "Hello")
	next(t, h.connected, "Connected")
	must(t, l.Send(killOrder(1, 9, time.Minute)))
	must(t, l.Send(killOrder(2, 8, time.Minute)))
	must(t, l.Send(killOrder(3, 0, time.Minute)))
	must(t, l.Send(&agentv1.FromServer{Kind: &agentv1.FromServer_Gate{Gate: &agentv1.GateOrder{Epoch: 6, Open: true}}}))
	must(t, l.Send(killOrder(5, 9, 0)))
	must(t, l.Send(killOrder(6, 9, time.Minute)))
	for _, want := range []uint64{1, 6} { // the gate order of epoch 6 must not come between
		if m := next(t, h.orders, "an order"); m.GetOrder().GetId() != want {
			t.Fatalf("order handed on is %v, want id %d", m, want)
		}
	}
	for _, want := range []struct {
		id    uint64
		error string
	}{
		{2, "refused: the order is of epoch 8, but epoch 9 has begun"},
		{3, "refused: the order carries no epoch"},
		{5, "refused: the order carries no deadline"},
	} {
		m := next(t, p.handler.msgs, "a result")
		for m.GetHeard() != nil { // its acks go on carrying epoch 7
			m = next(t, p.handler.msgs, "a result")
		}
		r := m.GetResult()
		if r.GetOrderId() != want.id || r.GetOk() || r.GetError() != want.error {
			t.Fatalf("result is %v, want id %d: %s", r, want.id, want.error)
		}
	}
	if u.Epoch() != 9 {
		t.Fatalf("epoch is %d, want 9", u.Epoch())
	}
}

func TestWhoIsRefused(t *testing.T) {
	foreign, err := pki.NewInMemory("yourcloud", time.Now())
	must(t, err)
	p := newPlace(t, func(o *ServerOptions) {
		o.Revoked = func(host, serial string) (string, bool) { return "stolen", host == "h-revoked" }
		o.Handler.(*serverSide).hello = func(_ *Link, m *agentv1.Hello) error {
			if m.GetHost() == "h-unwanted" {
				return errNo
			}
			return nil
		}
	})
	serverCreds, err := p.ca.IssueServer("h1", nil, time.Now())
	must(t, err)
	foreignCreds, err := foreign.IssueAgent("h1", m1, time.Now())
	must(t, err)
	mixed := *foreignCreds // trusts the server, but shows a certificate of another CA
	mixed.CA = p.ca.Certificate()
	otherMachine, err := p.ca.IssueAgent("h1", pki.Machine{UUID: "other"}, time.Now())
	must(t, err)
	serverAsAgent := *serverCreds
	serverAsAgent.Identity.Role = pki.RoleAgent

	for name, c := range map[string]struct {
		creds *pki.Credentials
		host  string
		boot  Boot
		want  string
	}{
		"wrong CA, agent's view":  {foreignCreds, "h1", bootA, "the server is not to be trusted"},
		"wrong CA, server's view": {&mixed, "h1", bootA, "the certificate is not good here"},
		"another host's name":     {p.agentCreds(t, "h2", time.Now()), "h1", bootA, `says that it is host "h1", its certificate is for h2`},
		"another machine":         {otherMachine, "h1", bootA, "its certificate is for other: an operator has to let it join again"},
		"a server's certificate":  {&serverAsAgent, "h1", bootA, "the role wanted is agent"},
		"revoked":                 {p.agentCreds(t, "h-revoked", time.Now()), "h-revoked", bootA, "was revoked: stolen"},
		"expired":                 {p.agentCreds(t, "h1", time.Now().Add(-2*365*24*time.Hour)), "h1", bootA, "it may only renew"},
		"refused by the handler":  {p.agentCreds(t, "h-unwanted", time.Now()), "h-unwanted", bootA, errNo.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			_, h := p.dial(t, func(o *AgentOptions) {
				o.Credentials, o.Hello = c.creds, helloOf(c.host, c.boot)
			})
			wantError(t, errors.New(refusal(t, h)), c.want)
		})
	}
	if n := len(p.handler.links) + len(p.handler.closed); n != 0 {
		t.Errorf("the handler saw %d links and ends of refused agents", n)
	}
	if n := p.server.Links(); n != 0 {
		t.Errorf("%d links are left", n)
	}
}

func TestHowLinksEnd(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, u *Uplinks, d *tap, l *Link, p *place)
		want End
		in   string // of the error
	}{
		"goodbye": {func(t *testing.T, u *Uplinks, _ *tap, _ *Link, p *place) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			must(t, u.Goodbye(ctx, agentv1.Leaving_LEAVING_HOST, "reboot"))
			m := next(t, p.handler.msgs, "the goodbye").GetGoodbye()
			if m.GetReason() != "reboot" || m.GetLeaving() != agentv1.Leaving_LEAVING_HOST || !bytes.Equal(m.GetBoot(), bootA[:]) {
				t.Errorf("goodbye is %v", m)
			}
		}, EndGoodbye, ""},
		"closed without a word": {func(_ *testing.T, u *Uplinks, _ *tap, _ *Link, _ *place) { u.Close() }, EndEOF, ""},
		"process killed": {func(t *testing.T, _ *Uplinks, d *tap, _ *Link, _ *place) {
			must(t, d.first().CloseWrite()) // what its kernel sends: FIN
		}, EndEOF, ""},
		"connection reset": {func(t *testing.T, _ *Uplinks, d *tap, _ *Link, _ *place) {
			must(t, d.first().SetLinger(0)) // closing sends RST
			must(t, d.first().Close())
		}, EndReset, "reset"},
		"closed by the server": {func(_ *testing.T, _ *Uplinks, _ *tap, l *Link, _ *place) { l.Close("enough") }, EndDropped, "enough"},
		"flooding": {func(_ *testing.T, u *Uplinks, _ *tap, _ *Link, _ *place) {
			for range 3000 {
				u.Send(alert("x"))
			}
		}, EndError, "more than 1000 messages"},
		"pulse of another boot": {func(_ *testing.T, u *Uplinks, _ *tap, _ *Link, _ *place) {
			u.Send(&agentv1.FromAgent{Kind: &agentv1.FromAgent_Pulse{Pulse: &agentv1.Pulse{Seq: 1e6, Boot: bootB.Bytes()}}})
		}, EndError, "another boot"},
		"malformed boot": {func(_ *testing.T, u *Uplinks, _ *tap, _ *Link, _ *place) {
			u.Send(&agentv1.FromAgent{Kind: &agentv1.FromAgent_Pulse{Pulse: &agentv1.Pulse{Seq: 1e6, Boot: []byte("x")}}})
		}, EndError, "16 bytes"},
		"second hello": {func(_ *testing.T, u *Uplinks, _ *tap, _ *Link, _ *place) {
			u.Send(&agentv1.FromAgent{Kind: &agentv1.FromAgent_Hello{Hello: helloOf("h1", bootA)()}})
		}, EndError, "second hello"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, func(o *ServerOptions) { o.AckEvery = time.Second })
			d := &tap{}
			u, h := p.dial(t, func(o *AgentOptions) { o.DialContext = d.dial; o.Queue = 6000 })
			l := next(t, p.handler.links, "Hello")
			next(t, h.connected, "Connected")
			next(t, p.handler.pulses, "a pulse")
			began := time.Now()
			c.do(t, u, d, l, p)
			end := next(t, p.handler.closed, "Closed")
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("known after %s", took)
			}
			if name == "closed without a word" && end.how == EndReset {
				return // a kernel answers what comes after the end, or was left unread, with a reset
			}
			if end.link != l || end.how != c.want {
				t.Fatalf("ended by %s (%v), want %s", end.how, end.err, c.want)
			}
			if c.in != "" {
				wantError(t, end.err, c.in)
			}
			if err := l.Send(killOrder(1, 7, time.Second)); !errors.Is(err, ErrClosed) {
				t.Errorf("Send afterwards: %v, want ErrClosed", err)
			}
		})
	}
}

func TestSlowAgentIsDropped(t *testing.T) {
	p := newPlace(t, nil)
	stuck := make(chan struct{})
	defer close(stuck)
	blocked := make(chan struct{})
	h := blockingAgent{newAgentSide(), blocked, stuck}
	_, _ = p.dial(t, func(o *AgentOptions) { o.Handler = h })
	l := next(t, p.handler.links, "Hello")
	next(t, h.connected, "Connected")
	order := killOrder(1, 7, time.Minute)
	order.GetOrder().Uuid = string(bytes.Repeat([]byte("x"), 32<<10)) // fills the windows soon
	must(t, l.Send(order))
	next(t, blocked, "the agent to stop reading")
	var err error
	for range 1000 {
		began := time.Now()
		if err = l.Send(order); err != nil {
			break
		}
		if took := time.Since(began); took > time.Second {
			t.Fatalf("Send blocked for %s", took)
		}
	}
	if !errors.Is(err, ErrSlow) {
		t.Fatalf("after 1000 messages of 32 KiB: %v, want ErrSlow", err)
	}
	if end := next(t, p.handler.closed, "Closed"); end.how != EndDropped {
		t.Fatalf("ended by %s (%v), want dropped", end.how, end.err)
	}
}

// blockingAgent stops reading at its first order.
type blockingAgent struct {
	*agentSide
	blocked chan struct{}
	release chan struct{}
}

func (h blockingAgent) Order(string, *agentv1.FromServer, time.Time) {
	select {
	case h.blocked <- struct{}{}:
	case <-h.release:
	}
	<-h.release
}

func TestTwoStreamsOfOneHost(t *testing.T) {
	p := newPlace(t, nil)
	_, first := p.dial(t, nil)
	a := next(t, p.handler.links, "Hello")
	next(t, first.connected, "Connected")

	_, second := p.dial(t, func(o *AgentOptions) { o.Hello = helloOf("h1", bootB) })
	b := next(t, p.handler.links, "Hello of another boot")
	next(t, second.connected, "Connected")
	if p.server.Links() != 2 || b.Boot() != bootB {
		t.Fatalf("%d links, want both boots: that contradiction is evidence", p.server.Links())
	}

	_, _ = p.dial(t, nil)
	next(t, p.handler.links, "Hello of the first boot")
	if end := next(t, p.handler.closed, "Closed"); end.link != a || end.how != EndDropped {
		t.Fatalf("%s of boot %s ended by %s, want the older stream of the same boot to be dropped", end.link.Host(), end.link.Boot(), end.how)
	}
}

func TestServerComesBack(t *testing.T) {
	p := newPlace(t, nil)
	_, h := p.dial(t, nil)
	next(t, h.connected, "Connected")
	next(t, h.changed, "Changed")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, p.server.Stop(ctx))
	must(t, p.server.Stop(ctx)) // again is fine
	if end := next(t, p.handler.closed, "Closed"); end.how != EndDropped {
		t.Fatalf("ended by %s, want dropped", end.how)
	}
	wantError(t, errors.New(refusal(t, h)), "the server is stopping")

	listener, err := net.Listen("tcp", p.addr)
	must(t, err)
	o := p.server.o
	o.Addr, o.Listener = "", listener
	again, err := Listen(o)
	must(t, err)
	again.Start()
	next(t, h.connected, "Connected again")
	must(t, again.Stop(ctx))
}

func TestOptionsAreChecked(t *testing.T) {
	p := newPlace(t, nil)
	ok := p.server.o
	for name, c := range map[string]struct {
		change func(*ServerOptions)
		want   string
	}{
		"no handler":     {func(o *ServerOptions) { o.Handler = nil }, "no handler"},
		"no credentials": {func(o *ServerOptions) { o.Credentials = nil }, "no credentials of a server"},
		"an agent's":     {func(o *ServerOptions) { o.Credentials = p.agentCreds(t, "h1", time.Now()) }, "no credentials of a server"},
		"no address":     {func(o *ServerOptions) { o.Addr = "" }, "address or a listener"},
		"rare acks":      {func(o *ServerOptions) { o.AckEvery = 2 * time.Second }, "at most 1s is allowed"},
		"taken port":     {func(o *ServerOptions) { o.Addr = p.addr }, "address already in use"},
	} {
		o := ok
		c.change(&o)
		_, err := Listen(o)
		if err == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		wantError(t, err, c.want)
	}
	for name, o := range map[string]AgentOptions{
		"no servers":     {},
		"no hello":       {Servers: []string{"x:1"}},
		"no credentials": {Servers: []string{"x:1"}, Hello: helloOf("h1", bootA), Handler: newAgentSide()},
		"no boot":        {Servers: []string{"x:1"}, Hello: helloOf("h1", Boot{}), Handler: newAgentSide(), Credentials: p.agentCreds(t, "h1", time.Now())},
	} {
		if u, err := Dial(o); err == nil {
			u.Close()
			t.Errorf("Dial with %s: taken", name)
		}
	}
	never, err := Listen(func() ServerOptions { o := ok; o.Addr = "127.0.0.1:0"; return o }())
	must(t, err)
	must(t, never.Stop(context.Background())) // never started
	_, err = net.DialTimeout("tcp", never.Addr().String(), time.Second)
	if err == nil {
		t.Error("a stopped server that was never started still listens")
	}
}
