package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/peerv1"
)

// ErrNotReached says that a server didn't answer.
var ErrNotReached = errors.New("the server isn't reached")

// joinAnswer is how long a server may take to answer a Join: its leader asks all others first.
const joinAnswer = 15 * time.Second

// PeerHandler is what a server does with what other servers ask. from is the name in their certificate.
type PeerHandler interface {
	// Hear begins what one server is told; the function answers its Asks, one after the other, and end is called once.
	Hear(from string) (answer func(*peerv1.Ask) *peerv1.Heard, end func())
	// Join lets a server join the cluster. from is the name that it will have.
	Join(ctx context.Context, from string, r *peerv1.JoinRequest) (*peerv1.JoinTicket, error)
}

// peers serves the Peer service on the agents' port.
type peers struct {
	peerv1.UnimplementedPeerServer
	s *Server
}

// authenticate lets servers of this CA in, and nobody else.
func (p peers) authenticate(ctx context.Context) (string, error) {
	auth, _, err := connOf(ctx)
	if err != nil {
		return "", err
	}
	who, err := auth.is(pki.RoleServer, time.Now())
	switch {
	case err != nil:
		return "", status.Error(codes.Unauthenticated, err.Error())
	case who.Expired:
		return "", status.Errorf(codes.Unauthenticated, "the certificate of server %s expired at %s", who.Name, who.Expires.Format(time.RFC3339))
	}
	auth.conn.known()
	return who.Name, nil
}

// Hear answers one Ask after the other.
func (p peers) Hear(stream grpc.BidiStreamingServer[peerv1.Ask, peerv1.Heard]) error {
	from, err := p.authenticate(stream.Context())
	if err != nil {
		return err
	}
	answer, end := p.s.o.Peers.Hear(from)
	defer end()
	for {
		ask, err := stream.Recv()
		if err != nil {
			return nil // the leader's end, however it came
		}
		if err := stream.Send(answer(ask)); err != nil {
			return err
		}
	}
}

// Join passes the request on.
func (p peers) Join(ctx context.Context, r *peerv1.JoinRequest) (*peerv1.JoinTicket, error) {
	from, err := p.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	if from != r.GetName() {
		return nil, status.Errorf(codes.PermissionDenied, "the certificate is of server %s, it asks for %s", from, r.GetName())
	}
	ticket, err := p.s.o.Peers.Join(ctx, from, r)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return ticket, nil
}

// Peer is a connection to another server.
type Peer struct {
	addr   string
	config *tls.Config
	dial   dialFunc
	cc     *grpc.ClientConn
	calls  peerv1.PeerClient
}

// DialPeer prepares a connection to another server's agents' port, with this server's own credentials. It connects with
// the first call. dial nil: net.Dialer.
func DialPeer(addr string, current func() *pki.Credentials, dial func(ctx context.Context, addr string) (net.Conn, error)) (*Peer, error) {
	// Both ends show a server's certificate of the one CA; what an agent checks of a server is what a server checks.
	p := &Peer{addr: addr, config: pki.AgentTLS(current, time.Now), dial: dial}
	if p.dial == nil {
		p.dial = dialTCP
	}
	var err error
	if p.cc, err = connect(addr, p.config, dial); err != nil {
		return nil, err
	}
	p.calls = peerv1.NewPeerClient(p.cc)
	return p, nil
}

// Close ends the connection.
func (p *Peer) Close() error { return p.cc.Close() }

// Hear opens the stream of Asks and answers; ctx bounds all of it.
func (p *Peer) Hear(ctx context.Context) (grpc.BidiStreamingClient[peerv1.Ask, peerv1.Heard], error) {
	stream, err := p.calls.Hear(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot ask another server: %w", err)
	}
	return stream, nil
}

// Join asks to let this server join. An error is the other server's word, or ErrNotReached.
func (p *Peer) Join(ctx context.Context, name, address string) (*peerv1.JoinTicket, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin+joinAnswer)
	defer cancel()
	if err := p.reach(ctx); err != nil {
		return nil, fmt.Errorf("cannot join: %w", err)
	}
	ticket, err := p.calls.Join(ctx, &peerv1.JoinRequest{Name: name, Address: address})
	switch s := status.Convert(err); s.Code() {
	case codes.OK:
		return ticket, nil
	case codes.Unavailable, codes.DeadlineExceeded:
		return nil, fmt.Errorf("cannot join: %w: %s answers, but not as an agents' port does (listen.agents of that server, usually 7401): %s", ErrNotReached, p.addr, s.Message())
	default:
		return nil, fmt.Errorf("cannot join: %s", s.Message())
	}
}

// reach opens a connection and ends it: gRPC doesn't tell a typing error of an operator from a dead server.
func (p *Peer) reach(ctx context.Context) error {
	raw, err := p.dial(ctx, p.addr)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotReached, err)
	}
	defer raw.Close() //nolint:errcheck // it was opened for its opening
	config := p.config.Clone()
	config.NextProtos = []string{"h2"}
	secure := tls.Client(raw, config)
	err = secure.HandshakeContext(ctx)
	_, foreign := errors.AsType[x509.UnknownAuthorityError](err)
	_, clear := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case foreign:
		return fmt.Errorf("%s is of another cluster than the bundle: %w", p.addr, err)
	case clear, err == nil && secure.ConnectionState().NegotiatedProtocol != "h2":
		return fmt.Errorf("what answers at %s is no agents' port (listen.agents of that server, usually 7401)", p.addr)
	case err != nil:
		return fmt.Errorf("%w: %s: %w", ErrNotReached, p.addr, err)
	}
	return nil
}
