package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test on real sockets; it is only ever used up by a failing test.
const patience = 10 * time.Second

var (
	bootA = Boot{0: 0xA, 15: 1}
	bootB = Boot{0: 0xB, 15: 1}
	m1    = pki.Machine{UUID: "11111111-0000-0000-0000-000000000001", Serial: "SN1"}
)

type closing struct {
	link *Link
	how  End
	err  error
}

// serverSide is a Handler that tells the test what it was told.
type serverSide struct {
	hello  func(*Link, *agentv1.Hello) error
	join   func(Joining) error
	links  chan *Link
	pulses chan uint64
	msgs   chan *agentv1.FromAgent
	closed chan closing
	renews chan Renewing
}

func newServerSide() *serverSide {
	return &serverSide{
		links: make(chan *Link, 100), pulses: make(chan uint64, 10000), msgs: make(chan *agentv1.FromAgent, 10000),
		closed: make(chan closing, 100), renews: make(chan Renewing, 10),
	}
}

func (h *serverSide) Hello(l *Link, m *agentv1.Hello) (*agentv1.Welcome, error) {
	if h.hello != nil {
		if err := h.hello(l, m); err != nil {
			return nil, err
		}
	}
	h.links <- l
	return &agentv1.Welcome{Epoch: 7, PulseMs: 50, Cluster: "mycloud"}, nil
}

func (h *serverSide) Pulse(_ *Link, seq uint64) {
	select {
	case h.pulses <- seq:
	default:
	}
}
func (h *serverSide) Message(_ *Link, m *agentv1.FromAgent)     { h.msgs <- m }
func (h *serverSide) Closed(l *Link, how End, err error)        { h.closed <- closing{l, how, err} }
func (h *serverSide) Renew(_ context.Context, r Renewing) error { h.renews <- r; return nil }
func (h *serverSide) Join(_ context.Context, j Joining) error {
	if h.join != nil {
		return h.join(j)
	}
	return nil
}

// tokens are Tokens in memory.
type tokens struct {
	mu      sync.Mutex
	records map[string]pki.TokenRecord
}

func (s *tokens) Create(_ context.Context, r pki.TokenRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[r.ID] = r
	return nil
}

func (s *tokens) Redeem(_ context.Context, id string, use func(pki.TokenRecord) (pki.TokenRecord, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[id]
	if !ok {
		return pki.ErrNoToken
	}
	r, err := use(r)
	if err == nil {
		s.records[id] = r
	}
	return err
}

// agentSide is an AgentHandler that tells the test what it was told.
type agentSide struct {
	connected chan string
	orders    chan *agentv1.FromServer
	untils    chan time.Time
	changed   chan ServerState
}

func newAgentSide() *agentSide {
	return &agentSide{
		connected: make(chan string, 100), orders: make(chan *agentv1.FromServer, 1000),
		untils: make(chan time.Time, 1000), changed: make(chan ServerState, 1000),
	}
}

func (h *agentSide) Connected(addr string, _ *agentv1.Welcome) { h.connected <- addr }
func (h *agentSide) Order(_ string, m *agentv1.FromServer, until time.Time) {
	h.orders <- m
	h.untils <- until
}
func (h *agentSide) Changed(s ServerState) { h.changed <- s }

// place is a cluster of one server with its CA.
type place struct {
	ca      *pki.CA
	tokens  *tokens
	handler *serverSide
	server  *Server
	addr    string
}

func newPlace(t testing.TB, change func(*ServerOptions)) *place {
	t.Helper()
	began := time.Now().Add(-3 * 365 * 24 * time.Hour)
	ca, err := pki.NewInMemory("mycloud", began)
	must(t, err)
	creds, err := ca.IssueServer("server-1", []string{"127.0.0.1"}, time.Now())
	must(t, err)
	p := &place{ca: ca, tokens: &tokens{records: map[string]pki.TokenRecord{}}, handler: newServerSide()}
	o := ServerOptions{
		Name: "server-1", Addr: "127.0.0.1:0", Credentials: creds, CA: ca, Tokens: p.tokens, Handler: p.handler,
		Epoch: func() uint64 { return 7 }, AckEvery: 50 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	p.server, err = Listen(o)
	must(t, err)
	p.addr = p.server.Addr().String()
	p.server.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := p.server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *place) agentCreds(t testing.TB, host string, issued time.Time) *pki.Credentials {
	t.Helper()
	c, err := p.ca.IssueAgent(host, m1, issued)
	must(t, err)
	return c
}

func helloOf(host string, boot Boot) func() *agentv1.Hello {
	return func() *agentv1.Hello {
		return &agentv1.Hello{
			Host: host, Boot: boot.Bytes(), AgentVersion: "test",
			Machine: &agentv1.Machine{Uuid: strings.ToUpper(m1.UUID), Serial: m1.Serial},
		}
	}
}

// dial starts an agent of host h1.
func (p *place) dial(t testing.TB, change func(*AgentOptions)) (*Uplinks, *agentSide) {
	t.Helper()
	h := newAgentSide()
	o := AgentOptions{Servers: []string{p.addr}, Hello: helloOf("h1", bootA), Handler: h}
	if change != nil {
		change(&o)
	}
	if o.Credentials == nil {
		o.Credentials = p.agentCreds(t, "h1", time.Now())
	}
	u, err := Dial(o)
	must(t, err)
	u.Start()
	u.Start() // again is fine
	t.Cleanup(u.Close)
	return u, h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// next takes one value or fails.
func next[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing came: %s", what)
		panic("unreachable")
	}
}

// refusal waits for a state that says why this server isn't reached.
func refusal(t testing.TB, h *agentSide) string {
	t.Helper()
	s := next(t, h.changed, "a refusal")
	if s.Connected || s.Err == nil {
		t.Fatalf("state is %+v, want a refusal", s)
	}
	return s.Err.Error()
}

func wantError(t testing.TB, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Fatalf("error is %v, want one that says %q", err, part)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

var errNo = errors.New("no, because of the test")

// tap keeps the connections that an agent opened, to break them.
type tap struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (d *tap) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err == nil {
		d.mu.Lock()
		d.conns = append(d.conns, c)
		d.mu.Unlock()
	}
	return c, err
}

func (d *tap) first() *net.TCPConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conns[0].(*net.TCPConn)
}
