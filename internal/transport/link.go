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
	sayGoodbye   = 2 * time.Second // how long an agent that is dropped may take to read why
	atOnce       = time.Duration(0)
	perSecond    = 1000 // messages that an agent may send in a second: a thousand times what it needs
	revokedEvery = time.Minute
)

type linkStream = grpc.BidiStreamingServer[agentv1.FromAgent, agentv1.FromServer]

// Link is the server's end of one agent's stream. Its methods are safe for concurrent use and never block.
//
// There are 10,000 of them, so a link that only pulses has one goroutine, its stream's handler, which receives and acks.
// What else is to be sent has another one for as long as there is something.
type Link struct {
	server *Server
	stream linkStream
	conn   *watchedConn
	peer   pki.Peer
	host   string
	boot   Boot
	bootID string
	remote string

	heard atomic.Uint64

	mu      sync.Mutex
	waiting []*agentv1.FromServer
	busy    bool           // somebody sends what waits, or will: until the Welcome is out, its sender
	over    bool           // nothing more is taken
	sender  sync.WaitGroup // that somebody
	sending sync.Mutex     // held while a message goes onto the stream

	once    sync.Once
	dropped chan struct{} // closed when this server ends the link
	reason  string        // set before dropped is closed
	told    sync.Once     // the agent was told the reason
	broken  atomic.Bool   // the agent broke the protocol
	gone    chan struct{} // closed when nothing is received any more
	direct  *Direct       // instead of server, stream and conn
}

func newLink(s *Server, stream linkStream, p caller, boot Boot) *Link {
	return &Link{
		server: s, stream: stream, conn: p.conn, peer: p.Peer, host: p.Name, boot: boot, bootID: boot.String(), remote: p.remote,
		busy: true, dropped: make(chan struct{}), gone: make(chan struct{}),
	}
}

// Host is the host's name, as its certificate and its Hello say.
func (l *Link) Host() string { return l.host }

// Boot is the life of the machine that this link belongs to.
func (l *Link) Boot() Boot { return l.boot }

// BootID is Boot as the kernel writes it.
func (l *Link) BootID() string { return l.bootID }

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
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return ErrClosed
	}
	if len(l.waiting) >= l.server.o.Queue {
		l.end(ErrSlow.Error(), atOnce)
		return ErrSlow
	}
	l.waiting = append(l.waiting, stamped)
	if !l.busy {
		l.busy = true
		l.sender.Go(l.drain)
	}
	return nil
}

// drain sends what waits, and ends.
func (l *Link) drain() {
	for {
		l.mu.Lock()
		if len(l.waiting) == 0 {
			l.waiting, l.busy = nil, false
			l.mu.Unlock()
			return
		}
		m := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		if l.send(m) != nil {
			return // the stream has ended: its receiver says so
		}
	}
}

func (l *Link) send(m *agentv1.FromServer) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	return l.stream.Send(m)
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
		go l.tell()
	})
}

// tell gives the agent the reason why it is dropped; one that reads it ends the stream.
func (l *Link) tell() {
	l.told.Do(func() {
		_ = l.send(refusedMessage(l.reason)) // it is being cut anyway
	})
}

// serve welcomes the agent and feeds the handler until the stream ends, then tells it how. What it returns is the
// stream's status.
func (l *Link) serve(welcome *agentv1.Welcome) error {
	defer l.server.live.Done()
	goodbye, err := false, l.send(&agentv1.FromServer{Kind: &agentv1.FromServer_Welcome{Welcome: welcome}})
	if err == nil {
		l.sender.Go(l.drain)
		goodbye, err = l.feed()
	}
	how, err := l.howEnded(goodbye, err)
	l.server.remove(l)
	close(l.gone)
	l.server.log.Info("agent's link ended", "host", l.host, "boot", l.bootID, "how", string(how), "error", err)
	l.server.o.Handler.Closed(l, how, err)
	return l.leave()
}

// leave waits for what is still being sent, but not for an agent that doesn't read.
func (l *Link) leave() error {
	cut := time.AfterFunc(sayGoodbye, func() { l.conn.Close() }) //nolint:errcheck // an end is all that is wanted
	defer cut.Stop()
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	l.sender.Wait()
	select {
	case <-l.dropped:
		l.tell()
		return status.Error(codes.Unavailable, l.reason)
	default:
		return nil
	}
}

// feed receives, and acks. Acks wait for nobody: while something else is being sent there is none, and the next pulse's
// ack says as much.
func (l *Link) feed() (goodbye bool, err error) {
	in := &inbound{}
	body := &agentv1.Ack{}
	ack := &agentv1.FromServer{Kind: &agentv1.FromServer_Ack{Ack: body}}
	// A pulse that comes a little early must not wait for its ack until the next one.
	every := l.server.o.AckEvery * 3 / 4
	var acked, second time.Time
	count := 0
	for {
		if err := l.stream.RecvMsg(in); err != nil {
			return goodbye, err
		}
		now := time.Now()
		if now.Sub(second) >= time.Second {
			second, count = now, 0
		}
		count++
		if err := l.take(in, count); err != nil {
			l.broken.Store(true)
			l.end(err.Error(), sayGoodbye)
			return goodbye, err
		}
		goodbye = goodbye || in.msg.GetGoodbye() != nil
		if heard := l.heard.Load(); heard != body.Seq && now.Sub(acked) >= every && l.sending.TryLock() {
			acked, body.Seq, body.Epoch = now, heard, l.server.o.Epoch()
			err := l.stream.Send(ack)
			l.sending.Unlock()
			if err != nil {
				return goodbye, err
			}
		}
	}
}

// take checks one message, the count-th in this second, and hands it to the handler. An error means that the agent broke
// the protocol.
func (l *Link) take(in *inbound, count int) error {
	if count > perSecond {
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
