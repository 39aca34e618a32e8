package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
	"github.com/ninelives-ha/ninelives/proto/peerv1"
)

const (
	// maxMessage bounds one message: 10,000 guests of a host, or 20,000 forbidden uuids, stay below.
	maxMessage = 1 << 20
	// flowWindow is how much may be under way unread, in bytes: longer messages wait a round trip.
	flowWindow = 64 << 10
	// linksPerHost bounds what one certificate can hold open; more than two with different boots is no accident.
	linksPerHost = 4
	helloWithin  = 15 * time.Second
	// A link on which nothing came for this long (10 missed pulses) is asked for life once, then closed. Detection has
	// drawn its conclusions long before; this only frees the memory.
	quietAfter = 10 * time.Second
	askedFor   = 10 * time.Second
)

// Server listens for agents. See Listen.
type Server struct {
	agentv1.UnimplementedAgentServer
	o        ServerOptions
	log      *slog.Logger
	listener net.Listener
	grpc     *grpc.Server

	mu       sync.Mutex
	creds    *pki.Credentials
	links    map[string][]*Link // by host
	stopping bool
	started  bool
	live     sync.WaitGroup // links: each ends with its Closed
	stopped  chan struct{}  // closed by Stop
	serving  sync.WaitGroup
}

// Listen binds the port, so that Addr is known; Start begins to serve.
func Listen(o ServerOptions) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("cannot listen for agents: %w", err)
	}
	s := &Server{o: o, log: o.Logger, listener: o.Listener, creds: o.Credentials, links: map[string][]*Link{}, stopped: make(chan struct{})}
	if s.listener == nil {
		var err error
		if s.listener, err = net.Listen("tcp", o.Addr); err != nil {
			return nil, fmt.Errorf("cannot listen for agents: %w", err)
		}
	}
	tls := credentials.NewTLS(pki.ServerTLS(s.credentials))
	s.grpc = grpc.NewServer(
		grpc.Creds(watchedTLS{tls, o.Credentials.CA, newDoor(), newStrangers(o.Logger)}),
		grpc.ForceServerCodecV2(newCodec()),
		// No buffer for reading (TLS has its own), a small one for writing (gRPC shares these by itself): with gRPC's 32 KiB
		// each, 10,000 links would not fit into the bar of 1 GiB.
		grpc.ReadBufferSize(0), grpc.WriteBufferSize(4<<10),
		// Fixed windows, of HTTP/2's least size: to find better ones gRPC sends a ping after each pulse and each ack.
		grpc.StaticStreamWindowSize(flowWindow), grpc.StaticConnWindowSize(flowWindow),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(4), grpc.MaxHeaderListSize(16<<10),
		grpc.HeaderTableSize(0), // one stream a connection: there is nothing to compress by what went before
		grpc.ConnectionTimeout(helloWithin),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: quietAfter, Timeout: askedFor, MaxConnectionIdle: time.Minute}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	agentv1.RegisterAgentServer(s.grpc, s)
	if o.Peers != nil {
		peerv1.RegisterPeerServer(s.grpc, peers{s: s})
	}
	return s, nil
}

// complete checks the options and fills in what may be left out.
func (o *ServerOptions) complete() error {
	switch {
	case o.Handler == nil:
		return errors.New("no handler was given")
	case o.Credentials == nil || o.Credentials.Identity.Role != pki.RoleServer:
		return errors.New("no credentials of a server were given")
	case (o.Addr == "") == (o.Listener == nil):
		return errors.New("either an address or a listener is needed")
	case o.AckEvery < 0 || o.AckEvery > time.Second:
		return fmt.Errorf("acks every %s: agents give a server up that is silent for %s, at most 1s is allowed", o.AckEvery, ackLimit)
	}
	if o.AckEvery == 0 {
		o.AckEvery = time.Second
	}
	if o.Queue <= 0 {
		o.Queue = 64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Epoch == nil {
		o.Epoch = func() uint64 { return 0 }
	}
	if o.Revoked == nil {
		o.Revoked = func(string, string) (string, bool) { return "", false }
	}
	return nil
}

// credentials are this server's. One that runs for longer than half of its certificate's life makes itself the next.
func (s *Server) credentials() (*pki.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.o.CA == nil || now.Before(s.creds.RenewAt()) {
		return s.creds, nil
	}
	sans := append([]string(nil), s.creds.Leaf.DNSNames...)
	for _, ip := range s.creds.Leaf.IPAddresses {
		sans = append(sans, ip.String())
	}
	fresh, err := s.o.CA.IssueServer(s.creds.Identity.Name, sans, now)
	if err != nil {
		return nil, err
	}
	s.creds = fresh
	return fresh, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Start begins to serve. It may be called once.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.stopping {
		return
	}
	s.started = true
	s.serving.Go(s.watchRevocations)
	s.serving.Go(func() {
		if err := s.grpc.Serve(s.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.log.Error("the port for agents stopped", "addr", s.Addr().String(), "error", err)
		}
	})
}

// Stop ends all links and returns when every Closed was called, or with ctx's error. It may be called more than once.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopping {
		close(s.stopped)
	}
	s.stopping = true
	for _, of := range s.links {
		for _, l := range of {
			l.end("the server is stopping", sayGoodbye)
		}
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.live.Wait() // bounded: Link.end closes the connection of an agent that doesn't take the news
		// Graceful, so that what was said last gets out; bounded all the same.
		hard := time.AfterFunc(sayGoodbye, s.grpc.Stop)
		s.grpc.GracefulStop()
		hard.Stop()
		s.listener.Close() //nolint:errcheck // closed by grpc already, unless Start was never called
		s.serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("cannot stop listening for agents in time: %w", ctx.Err())
	}
}

// watchRevocations drops the links of certificates that were revoked since.
func (s *Server) watchRevocations() {
	tick := time.NewTicker(revokedEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stopped:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		for _, of := range s.links {
			for _, l := range of {
				if reason, revoked := s.o.Revoked(l.host, l.peer.Serial); revoked {
					l.end("the certificate was revoked: "+reason, sayGoodbye)
				}
			}
		}
		s.mu.Unlock()
	}
}

// Links is how many links there are now.
func (s *Server) Links() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, of := range s.links {
		n += len(of)
	}
	return n
}

// add takes a link in. An older one of the same boot is surely a connection that died unseen: a host's agent opens a
// second stream only after it has given up the first. One of another boot stays: that contradiction is evidence.
func (s *Server) add(l *Link) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return errors.New("the server is stopping")
	}
	of := s.links[l.host]
	if len(of) >= linksPerHost {
		return fmt.Errorf("host %s has %d streams open already", l.host, len(of))
	}
	for _, old := range of {
		if old.boot == l.boot {
			old.end("replaced by a newer stream of the same boot", sayGoodbye)
		}
	}
	s.links[l.host] = append(of, l)
	s.live.Add(1)
	return nil
}

func (s *Server) remove(l *Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.links[l.host][:0]
	for _, old := range s.links[l.host] {
		if old != l {
			kept = append(kept, old)
		}
	}
	if len(kept) == 0 {
		delete(s.links, l.host)
	} else {
		s.links[l.host] = kept
	}
}
