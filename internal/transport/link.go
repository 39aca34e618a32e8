package transport

import (
	"context"
	"net"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// Link is the server's end of one agent's stream. Its methods are safe for concurrent use and never block.
type Link struct{}

// Host is the host's name, as its certificate and its Hello say.
func (l *Link) Host() string { panic("coming") }

// Boot is the life of the machine that this link belongs to.
func (l *Link) Boot() Boot { panic("coming") }

// Machine is the machine that the certificate is bound to.
func (l *Link) Machine() pki.Machine { panic("coming") }

// Remote is the agent's address.
func (l *Link) Remote() string { panic("coming") }

// Heard is the highest pulse heard on this link, 0 for none.
func (l *Link) Heard() uint64 { panic("coming") }

// Send queues a message and returns at once; m must not be changed after. ErrSlow: the queue was full, the link is being dropped. ErrClosed: it has ended.
func (l *Link) Send(m *agentv1.FromServer) error { panic("coming") }

// Close ends the link; the agent is told the reason if it can be.
func (l *Link) Close(reason string) { panic("coming") }

// Server listens for agents.
type Server struct{}

// Listen binds the port, so that Addr is known; Start begins to serve.
func Listen(o ServerOptions) (*Server, error) { panic("coming") }

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { panic("coming") }

// Start begins to serve.
func (s *Server) Start() { panic("coming") }

// Stop ends all links and returns when every Closed was called, or with ctx's error. It may be called more than once.
func (s *Server) Stop(ctx context.Context) error { panic("coming") }

// Uplinks are an agent's links to all servers.
type Uplinks struct{}

// Dial begins to hold one stream to every server and returns at once.
func Dial(o AgentOptions) (*Uplinks, error) { panic("coming") }

// Send queues a message for every connected server, never blocks, and returns for how many it was queued.
func (u *Uplinks) Send(m *agentv1.FromAgent) int { panic("coming") }

// SendTo queues a message for one server.
func (u *Uplinks) SendTo(addr string, m *agentv1.FromAgent) error { panic("coming") }

// States tells how every server stands, in the order of AgentOptions.Servers.
func (u *Uplinks) States() []ServerState { panic("coming") }

// Seq is the last pulse sent.
func (u *Uplinks) Seq() uint64 { panic("coming") }

// Goodbye tells all connected servers, waits until they have heard it or ctx ends, and closes.
func (u *Uplinks) Goodbye(ctx context.Context, leaving agentv1.Leaving, reason string) error {
	panic("coming")
}

// Close ends all links without a goodbye. It may be called more than once.
func (u *Uplinks) Close() { panic("coming") }

// JoinOptions is what Join needs.
type JoinOptions struct {
	Servers     []string // asked in this order until one answers
	Token       string
	Host        string
	Machine     pki.Machine
	Dir         string // where the key, certificate and CA are stored
	DialContext func(ctx context.Context, addr string) (net.Conn, error)
}

// Join trades a token for credentials and stores them in Dir. When the answer is lost it may be repeated: the key is kept in Dir.
func Join(ctx context.Context, o JoinOptions) (*pki.Credentials, error) { panic("coming") }
