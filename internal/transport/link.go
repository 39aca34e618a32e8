package transport

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

const (
	sayGoodbye  = 2 * time.Second // how long an agent that is dropped may take to read why
	atOnce      = time.Duration(0)
	perAck      = 1000 // messages that an agent may send between two acks: a thousand times what it needs
	revokeTicks = 60   // acks between two looks at the revocations
)

type linkStream = grpc.BidiStreamingServer[agentv1.FromAgent, agentv1.FromServer]

// Link is the server's end of one agent's stream. Its methods are safe for concurrent use and never block.
type Link struct {
	server *Server
	stream linkStream
	conn   *watchedConn
	peer   pki.Peer
	host   string
	boot   Boot
	remote string

	queue chan *agentv1.FromServer
	heard atomic.Uint64
	count atomic.Uint32 // messages since the last ack

	once    sync.Once
	dropped chan struct{} // closed when this server ends the link
	reason  string        // set before dropped is closed
	broken  atomic.Bool   // the agent broke the protocol
	gone    chan struct{} // closed when the receiver has ended
	direct  *Direct       // instead of server, stream, conn and queue
}

func newLink(s *Server, stream linkStream, p caller, boot Boot) *Link {
	return &Link{
		server: s, stream: stream, conn: p.conn, peer: p.Peer, host: p.Name, boot: boot, remote: p.remote,
		queue:   make(chan *agentv1.FromServer, s.o.Queue),
		dropped: make(chan struct{}), gone: make(chan struct{}),
	}
}

// Host is the host's name, as its certificate and its Hello say.
func (l *Link) Host() string { return l.host }

// Boot is the life of the machine that this link belongs to.
func (l *Link) Boot() Boot { return l.boot }

// Machine is the machine that the certificate is bound to.
func (l *Link) Machine() pki.Machine { return l.peer.Machine }

// Serial is the serial number of the agent's certificate.
func (l *Link) Serial() string { return l.peer.Serial }

// Remote is the agent's address, with its port.
func (l *Link) Remote() string { return l.remote }

// Heard is the highest pulse heard on this link, 0 for none.
func (l *Link) Heard() uint64 { return l.heard.Load() }

// Send queues a message and returns at once; m must not be changed afterwards and may be sent on several links.
// ErrSlow: the queue was full, the link is being dropped. ErrClosed: it has ended. Nil doesn't mean that it arrived.
func (l *Link) Send(m *agentv1.FromServer) error {
	select {
	case <-l.dropped:
		return ErrClosed
	case <-l.gone:
		return ErrClosed
	default:
	}
	// The age of what is said counts from here, not from when the agent got round to reading it.
	stamped := &agentv1.FromServer{Kind: m.GetKind(), HeardSeq: l.heard.Load()}
	if l.direct != nil {
		l.direct.Deliver(stamped)
		return nil
	}
	select {
	case l.queue <- stamped:
		return nil
	default:
		l.end(ErrSlow.Error(), atOnce)
		return ErrSlow
	}
}

// Close ends the link; the agent is told the reason if it reads within 2 s.
func (l *Link) Close(reason string) { l.end(reason, sayGoodbye) }

// end drops the link. After grace the connection is cut, so that neither a slow nor a silent agent can hold it.
func (l *Link) end(reason string, grace time.Duration) {
	l.once.Do(func() {
		l.reason = reason
		close(l.dropped)
		if l.direct != nil {
			l.direct.Dropped(reason)
			return
		}
		if grace == atOnce {
			l.conn.Close() //nolint:errcheck // an end is all that is wanted
			return
		}
		time.AfterFunc(grace, func() { l.conn.Close() }) //nolint:errcheck // as above
	})
}

// write runs in the stream's handler: what it returns is the end of the stream.
func (l *Link) write() error {
	ticker := time.NewTicker(l.server.o.AckEvery)
	defer ticker.Stop()
	body := &agentv1.Ack{}
	ack := &agentv1.FromServer{Kind: &agentv1.FromServer_Ack{Ack: body}}
	for ticks := 1; ; {
		select {
		case m := <-l.queue:
			if err := l.stream.Send(m); err != nil {
				return err
			}
		case <-ticker.C:
			l.count.Store(0)
			if ticks++; ticks%revokeTicks == 0 {
				if reason, revoked := l.server.o.Revoked(l.host, l.peer.Serial); revoked {
					l.end("the certificate was revoked: "+reason, sayGoodbye)
				}
			}
			if heard := l.heard.Load(); heard != body.Seq {
				body.Seq, body.Epoch = heard, l.server.o.Epoch()
				if err := l.stream.Send(ack); err != nil {
					return err
				}
			}
		case <-l.gone:
			return nil
		case <-l.dropped:
			return refuse(l.stream, codes.Unavailable, l.reason)
		}
	}
}

// receive feeds the handler until the stream ends, then tells it how.
func (l *Link) receive() {
	defer l.server.live.Done()
	goodbye, err := l.feed()
	how, err := l.howEnded(goodbye, err)
	l.server.remove(l)
	close(l.gone)
	l.server.log.Info("agent's link ended", "host", l.host, "boot", l.boot.String(), "how", string(how), "error", err)
	l.server.o.Handler.Closed(l, how, err)
}

func (l *Link) feed() (goodbye bool, err error) {
	in := &inbound{}
	for {
		if err := l.stream.RecvMsg(in); err != nil {
			return goodbye, err
		}
		if err := l.take(in); err != nil {
			l.broken.Store(true)
			l.end(err.Error(), sayGoodbye)
			return goodbye, err
		}
		goodbye = goodbye || in.msg.GetGoodbye() != nil
	}
}

// take checks one message and hands it to the handler. An error means that the agent broke the protocol.
func (l *Link) take(in *inbound) error {
	if l.count.Add(1) > perAck {
		return errors.New("more than 1000 messages came within one second")
	}
	if in.isPulse {
		if in.boot != l.boot {
			return errors.New("a pulse came of another boot than Hello's")
		}
		if in.seq > l.heard.Load() { // only this goroutine stores
			l.heard.Store(in.seq)
			l.server.o.Handler.Pulse(l, in.seq)
		}
		return nil
	}
	switch in.msg.GetKind().(type) {
	case nil:
		return nil // of a newer agent: ignored
	case *agentv1.FromAgent_Hello:
		return errors.New("a second hello came")
	}
	l.server.o.Handler.Message(l, in.msg)
	return nil
}

func (l *Link) howEnded(goodbye bool, err error) (End, error) {
	select {
	case <-l.dropped:
		if l.broken.Load() {
			return EndError, err
		}
		return EndDropped, errors.New(l.reason)
	default:
	}
	if goodbye {
		return EndGoodbye, nil
	}
	if errors.Is(err, io.EOF) {
		return EndEOF, nil
	}
	switch status.Code(err) {
	case codes.Internal, codes.ResourceExhausted, codes.Unimplemented, codes.InvalidArgument:
		return EndError, err
	}
	how, cause := l.conn.howEnded(quietAfter)
	if cause == nil {
		cause = err
	}
	return how, cause
}
