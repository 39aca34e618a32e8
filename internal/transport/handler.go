package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

var (
	// ErrSlow says that an agent's send queue was full; its link is being dropped.
	ErrSlow = errors.New("the agent doesn't read fast enough, its link was dropped")
	// ErrClosed says that the link or the uplinks have ended.
	ErrClosed = errors.New("the link is closed")
)

// Handler is what a server does with what agents say.
//
// For one link all calls come one after the other: Hello, then any number of Pulse and Message, then exactly one
// Closed if Hello returned no error (none otherwise). Calls for different links come at the same time. A call that
// blocks holds up its own link only.
type Handler interface {
	// Hello accepts or refuses an agent. Host and machine are already known to be those of its certificate, the boot
	// to be well-formed. On an error the agent is sent Refused with its text. The Welcome's Server may be left empty.
	Hello(l *Link, h *agentv1.Hello) (*agentv1.Welcome, error)

	// Pulse is called once for each pulse with a new seq; its boot is l.Boot() (a pulse of another boot ends the
	// link). It is called 10,000 times a second and more: no allocation, no waiting.
	Pulse(l *Link, seq uint64)

	// Message is called for every other message; m is the handler's to keep. Goodbye comes here as well.
	Message(l *Link, m *agentv1.FromAgent)

	// Closed tells how the link ended, as soon as this kernel knows it.
	Closed(l *Link, how End, err error)

	// Join decides whether a machine may have its first certificate for this host name. The token has been redeemed
	// already, for this host, machine and key. To be recorded before it returns nil. On an error no certificate is
	// sent; the same machine may ask again with the same token and key (say, after an operator's `host rejoin`).
	Join(ctx context.Context, j Joining) error

	// Renew decides whether an agent may have its next certificate.
	Renew(ctx context.Context, r Renewing) error
}

// Joining is what is known of a machine that wants its first certificate.
type Joining struct {
	Host    string
	Machine pki.Machine // as the machine itself says
	Token   string      // the token's ID
	Remote  string      // address that it came from
	Serial  string      // of the certificate that it will get
	Expires time.Time   // of that certificate
}

// Renewing is what is known of an agent that wants its next certificate.
type Renewing struct {
	Host      string
	Machine   pki.Machine // of the present certificate
	OldSerial string
	Expired   bool // the present certificate
	Remote    string
	Serial    string
	Expires   time.Time
}

// End is how a link ended.
type End string

// Ends of a link. EOF and reset come from the peer's kernel (or from a box between): that kernel ran a moment ago.
const (
	EndGoodbye End = "goodbye" // the agent said goodbye, then closed
	EndEOF     End = "eof"     // the stream was closed without a goodbye: the agent process ended
	EndReset   End = "reset"   // TCP reset: the agent or its machine ended
	EndTimeout End = "timeout" // nothing was heard, or nothing acknowledged, for too long
	EndDropped End = "dropped" // this server ended it: Link.Close, a slow agent, Stop
	EndError   End = "error"   // the agent broke the protocol, or TLS failed
)

// ServerOptions is what Listen needs. Handler, Credentials and one of Addr and Listener must be given.
type ServerOptions struct {
	Name     string       // this server's name, for Welcome
	Addr     string       // host:port to listen on; ":0" gets a free port, see Server.Addr
	Listener net.Listener // instead of Addr (simulator, tests)

	Credentials *pki.Credentials // this server's
	CA          *pki.CA          // nil: nobody can join or renew here
	Tokens      pki.Tokens       // nil: nobody can join here

	Handler Handler
	Peers   PeerHandler  // what other servers ask; nil: they get no answer
	Logger  *slog.Logger // nil: none

	// Epoch is what Welcomes and acks carry: the highest epoch that this server knows of, 0 for none. Nil: always 0.
	Epoch func() uint64
	// Revoked says whether a certificate is no longer trusted, and why. Asked at every handshake and every minute
	// for each link: it must be quick. Nil: none is.
	Revoked func(host, serial string) (reason string, revoked bool)

	AckEvery time.Duration // at most one ack a link in this time; 0: 1 s
	Queue    int           // messages that may wait for one agent; 0: 64
}

// AgentHandler is what an agent does with what servers say, from Uplinks.Start on. Calls for one server come one after the other, those for
// different servers at the same time. addr is the server's address as in AgentOptions.Servers, or as servers told.
type AgentHandler interface {
	// Connected is called after each Welcome. The moment to tell this server the guests, stores and gate state.
	Connected(addr string, w *agentv1.Welcome)

	// Order is called for ProbeOrder, GateOrder and Order. Orders of an old epoch and orders that are too late have
	// been refused and answered before. until is the moment, on this host's clock, after which the act must not be
	// begun; zero for a GateOrder, which has no end. Boots are the handler's to check.
	Order(addr string, m *agentv1.FromServer, until time.Time)

	// Changed is called when a server is reached, is lost or refuses.
	Changed(s ServerState)
}

// ServerState is how one server stands to this agent.
type ServerState struct {
	Addr      string // as in AgentOptions.Servers, or as servers told
	Name      string // as in its Welcome; "" before the first
	Connected bool
	Since     time.Time // of Connected's last change
	LastAck   time.Time // zero: none on this connection
	Refused   string    // its reason, if it refused
	Err       error     // why it isn't connected; nil while the first attempt goes on
}

// AgentOptions is what Dial needs. Servers, Credentials, Hello and Handler must be given.
type AgentOptions struct {
	Servers     []string // host:port of servers, to begin with; each server tells of all
	Credentials *pki.Credentials
	// DialContext opens connections; nil: net.Dialer. Replaced by simulators and tests.
	DialContext func(ctx context.Context, addr string) (net.Conn, error)
	// Hello is asked for each new stream. Its boot must not change; transport fills in started_seq and epoch.
	Hello   func() *agentv1.Hello
	Handler AgentHandler
	Logger  *slog.Logger // nil: none
	// Known is what an earlier run of this agent has saved; the zero Known: nothing.
	Known Known
	// SaveKnown is called, by one goroutine, when more is known. Nil: nothing is remembered.
	SaveKnown func(Known) error
	// SaveRenewed is called with renewed credentials, to store them. Nil: the agent doesn't renew.
	SaveRenewed func(*pki.Credentials) error
	Queue       int // messages that may wait for one server; 0: 64
}
