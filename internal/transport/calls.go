package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// caller is who made a call.
type caller struct {
	pki.Peer
	conn   *watchedConn
	remote string
}

// connOf is the connection that a call came on.
func connOf(ctx context.Context) (*peerAuth, string, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, "", status.Error(codes.Internal, "the call has no peer")
	}
	auth, ok := p.AuthInfo.(peerAuth)
	if !ok {
		return nil, "", status.Error(codes.Unauthenticated, "the connection is not TLS")
	}
	return &auth, p.Addr.String(), nil
}

// authenticate tells who calls: an agent of this CA whose certificate is not revoked. Whether an expired one will do is
// for the caller.
func (s *Server) authenticate(ctx context.Context) (caller, error) {
	auth, remote, err := connOf(ctx)
	if err != nil {
		return caller{}, err
	}
	p, err := auth.is(pki.RoleAgent, time.Now())
	if err != nil {
		return caller{}, status.Error(codes.Unauthenticated, err.Error())
	}
	if reason, revoked := s.o.Revoked(p.Name, p.Serial); revoked {
		return caller{}, status.Errorf(codes.PermissionDenied, "the certificate of %s was revoked: %s", p.Name, reason)
	}
	auth.conn.known()
	return caller{Peer: p, conn: auth.conn, remote: remote}, nil
}

// Link is one agent's stream.
func (s *Server) Link(stream linkStream) error {
	who, err := s.authenticate(stream.Context())
	if err != nil {
		return refuse(stream, status.Code(err), status.Convert(err).Message())
	}
	if who.Expired {
		return refuse(stream, codes.Unauthenticated, fmt.Sprintf("the certificate of %s expired at %s: it may only renew",
			who.Name, who.Expires.Format(time.RFC3339)))
	}
	cut := time.AfterFunc(helloWithin, func() { who.conn.Close() }) //nolint:errcheck // an end is all that is wanted
	hello, boot, err := receiveHello(stream, who)
	cut.Stop()
	if err != nil {
		return refuse(stream, codes.FailedPrecondition, err.Error())
	}
	l := newLink(s, stream, who, boot)
	if err := s.add(l); err != nil {
		return refuse(stream, codes.Unavailable, err.Error())
	}
	welcome, err := s.o.Handler.Hello(l, hello)
	if err != nil {
		s.remove(l)
		s.live.Done()
		s.log.Warn("agent refused", "host", l.host, "remote", l.remote, "reason", err)
		return refuse(stream, codes.FailedPrecondition, err.Error())
	}
	if welcome.Server == "" {
		welcome.Server = s.o.Name
	}
	welcome.Epoch = max(welcome.Epoch, s.o.Epoch())
	s.log.Info("agent linked", "host", l.host, "boot", boot.String(), "remote", l.remote)
	return l.serve(welcome)
}

// receiveHello reads the first message and holds it against the certificate.
func receiveHello(stream linkStream, who caller) (*agentv1.Hello, Boot, error) {
	in := &inbound{}
	if err := stream.RecvMsg(in); err != nil {
		return nil, Boot{}, fmt.Errorf("no hello came: %w", err)
	}
	hello := in.msg.GetHello()
	if hello == nil {
		return nil, Boot{}, errors.New("the first message was not a hello")
	}
	if hello.GetHost() != who.Name {
		return nil, Boot{}, fmt.Errorf("the agent says that it is host %q, its certificate is for %s", hello.GetHost(), who.Name)
	}
	if m := machineOf(hello.GetMachine()); m != who.Machine {
		return nil, Boot{}, fmt.Errorf("the agent of %s runs on %s, its certificate is for %s: an operator has to let it join again",
			who.Name, m, who.Machine)
	}
	boot, err := BootFromBytes(hello.GetBoot())
	if err != nil {
		return nil, Boot{}, fmt.Errorf("cannot read the hello of %s: %w", who.Name, err)
	}
	return hello, boot, nil
}

// refuse tells the agent why, in a message and as the status that ends the stream.
func refuse(stream linkStream, code codes.Code, reason string) error {
	if err := stream.Send(refusedMessage(reason)); err != nil {
		return err
	}
	return status.Error(code, reason)
}

func refusedMessage(reason string) *agentv1.FromServer {
	return &agentv1.FromServer{Kind: &agentv1.FromServer_Refused{Refused: &agentv1.Refused{Reason: reason}}}
}

func machineOf(m *agentv1.Machine) pki.Machine {
	return pki.Machine{UUID: m.GetUuid(), Serial: m.GetSerial()}.Normal()
}

// Join trades a token for a certificate.
func (s *Server) Join(ctx context.Context, req *agentv1.JoinRequest) (*agentv1.Credentials, error) {
	if s.o.CA == nil || s.o.Tokens == nil {
		return nil, status.Error(codes.FailedPrecondition, "agents cannot join at this server")
	}
	_, remote, err := connOf(ctx)
	if err != nil {
		return nil, err
	}
	machine, now := machineOf(req.GetMachine()), time.Now()
	if machine.IsZero() {
		return nil, status.Errorf(codes.InvalidArgument,
			"cannot tell which machine %s is: its firmware has no UUID and no serial; set `identity:` in agent.yaml", req.GetHost())
	}
	id, secret, err := pki.SplitWire(req.GetToken())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	key, err := pki.RequestKeyID(req.GetCsr())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	err = s.o.Tokens.Redeem(ctx, id, func(r pki.TokenRecord) (pki.TokenRecord, error) {
		return r.Use(pki.Redemption{Secret: secret, Host: req.GetHost(), Machine: machine, Key: key, Now: now})
	})
	if err != nil {
		s.log.Warn("join refused", "host", req.GetHost(), "token", id, "remote", remote, "error", err)
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	cert, err := s.o.CA.SignAgent(req.GetCsr(), req.GetHost(), machine, now)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	err = s.o.Handler.Join(ctx, Joining{
		Host: req.GetHost(), Machine: machine, Token: id, Remote: remote, Serial: pki.Serial(cert), Expires: cert.NotAfter,
	})
	if err != nil {
		s.log.Warn("join refused", "host", req.GetHost(), "machine", machine.String(), "remote", remote, "error", err)
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	s.log.Info("agent joined", "host", req.GetHost(), "machine", machine.String(), "remote", remote)
	return s.answer(cert.Raw), nil
}

// Renew trades a certificate for a fresh one.
func (s *Server) Renew(ctx context.Context, req *agentv1.RenewRequest) (*agentv1.Credentials, error) {
	who, err := s.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	if s.o.CA == nil {
		return nil, status.Error(codes.FailedPrecondition, "agents cannot renew at this server")
	}
	cert, err := s.o.CA.SignAgent(req.GetCsr(), who.Name, who.Machine, time.Now())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	err = s.o.Handler.Renew(ctx, Renewing{
		Host: who.Name, Machine: who.Machine, OldSerial: who.Serial, Expired: who.Expired, Remote: who.remote,
		Serial: pki.Serial(cert), Expires: cert.NotAfter,
	})
	if err != nil {
		s.log.Warn("renewal refused", "host", who.Name, "remote", who.remote, "error", err)
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	s.log.Info("agent renewed its certificate", "host", who.Name, "expired", who.Expired)
	return s.answer(cert.Raw), nil
}

func (s *Server) answer(cert []byte) *agentv1.Credentials {
	return &agentv1.Credentials{Chain: [][]byte{cert}, Ca: s.o.CA.Certificate().Raw}
}
