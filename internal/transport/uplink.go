package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

var (
	errNoWelcome = fmt.Errorf("the server did not answer within %s", openWithin)
	errNoAck     = errors.New("the server acknowledges no pulses")
	errRefused   = errors.New("the server refused this agent")
	errEnded     = errors.New("the server closed the stream")
)

type outbound struct {
	msg  *agentv1.FromAgent
	last bool // close the sending half after it
}

// uplink is the link to one server: a loop of sessions, each with its own connection.
type uplink struct {
	u      *Uplinks
	addr   string
	told   bool               // by servers; it isn't in the configuration
	cancel context.CancelFunc // of run; nil before it began; guarded by Uplinks.mu
	done   chan struct{}      // closed when run has ended
	final  error              // why its last session or attempt ended; set before done is closed

	mu      sync.Mutex
	state   ServerState
	session *session // nil while not connected
}

// session is one welcomed stream.
type session struct {
	queue    chan outbound
	pulse    chan uint64 // room for one: the newest counts
	interval time.Duration
	cancel   context.CancelCauseFunc
	reaches  func() bool // the server's kernel takes what is sent
	acked    uint64      // the agent's own seq when the last ack came; guarded by uplink.mu
	last     bool        // guarded by uplink.mu
	said     uint64      // the epoch that the server was told of since the Hello; the reader's
}

func newUplink(u *Uplinks, addr string) *uplink {
	return &uplink{u: u, addr: addr, done: make(chan struct{}), state: ServerState{Addr: addr, Since: time.Now()}}
}

// run keeps a stream open until the Uplinks are closed.
func (l *uplink) run(ctx context.Context) {
	defer close(l.done)
	if !wait(ctx, l.begin()) {
		return
	}
	for failures := 0; l.spare(ctx) && !l.u.leaving.Load(); failures++ {
		began := time.Now()
		l.final = l.hold(ctx)
		if l.lose(l.final) && time.Since(began) >= settled {
			failures = 0
		}
		if l.u.leaving.Load() || !wait(ctx, retryDelay(failures)) {
			return
		}
	}
}

// hold opens one stream and returns when it has ended, never with nil.
func (l *uplink) hold(ctx context.Context) error {
	config := pki.AgentTLS(l.u.creds.Load, time.Now)
	var wire atomic.Pointer[net.Conn]
	cc, err := connect(l.addr, config, noting(&wire, l.u.o.DialContext))
	if err != nil {
		return err
	}
	defer cc.Close() //nolint:errcheck // the stream's end is what is reported
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opening := time.AfterFunc(openWithin, func() { cancel(errNoWelcome) })
	helloAt := time.Now()
	stream, welcome, err := l.open(ctx, cc)
	if !opening.Stop() && err == nil {
		err = errNoWelcome
	}
	if err != nil {
		return because(ctx, err)
	}
	s, err := l.welcomed(welcome, cancel, func() bool { return confirmed(*wire.Load(), ackLimit) })
	if err != nil {
		return err
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		if err := l.write(ctx, stream, s); err != nil {
			cancel(err)
		}
	})
	l.u.o.Handler.Connected(l.addr, welcome)
	err = l.read(stream, s, helloAt)
	err = because(ctx, err)
	cancel(err)
	writer.Wait()
	return err
}

// because prefers the reason for which we ended the stream to what gRPC makes of it.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if s, ok := status.FromError(err); ok && err != nil {
		return errors.New(s.Message())
	}
	return err
}

func (l *uplink) open(ctx context.Context, cc *grpc.ClientConn) (clientStream, *agentv1.Welcome, error) {
	stream, err := agentv1.NewAgentClient(cc).Link(ctx)
	if err != nil {
		return nil, nil, err
	}
	hello := l.u.o.Hello()
	hello.StartedSeq, hello.Epoch = l.u.pulses.last(), l.u.epochs.Highest()
	err = stream.Send(&agentv1.FromAgent{Kind: &agentv1.FromAgent_Hello{Hello: hello}})
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the reason comes with Recv
		return nil, nil, err
	}
	m, err := stream.Recv()
	if err != nil {
		return nil, nil, err
	}
	if refused := m.GetRefused(); refused != nil {
		return nil, nil, l.refused(refused)
	}
	if m.GetWelcome() == nil {
		return nil, nil, errors.New("the server's first message was neither a welcome nor a refusal")
	}
	l.u.heardEpoch(m.GetWelcome().GetEpoch())
	return stream, m.GetWelcome(), nil
}

type clientStream = grpc.BidiStreamingClient[agentv1.FromAgent, agentv1.FromServer]

func (l *uplink) refused(r *agentv1.Refused) error {
	l.mu.Lock()
	l.state.Refused = r.GetReason()
	l.mu.Unlock()
	return fmt.Errorf("%w: %s", errRefused, r.GetReason())
}

// welcomed makes the session known to send and beat.
func (l *uplink) welcomed(w *agentv1.Welcome, cancel context.CancelCauseFunc, reaches func() bool) (*session, error) {
	s := &session{
		queue: make(chan outbound, l.u.o.Queue), pulse: make(chan uint64, 1), cancel: cancel, reaches: reaches,
		interval: time.Duration(w.GetPulseMs()) * time.Millisecond, acked: l.u.pulses.last(),
	}
	l.mu.Lock()
	if l.u.leaving.Load() {
		l.mu.Unlock()
		return nil, ErrClosed
	}
	l.session = s
	l.state = ServerState{Addr: l.addr, Name: w.GetServer(), Connected: true, Since: time.Now()}
	state := l.state
	l.mu.Unlock()
	select {
	case l.u.faster <- struct{}{}:
	default:
	}
	l.u.log.Info("server reached", "server", w.GetServer(), "addr", l.addr)
	l.u.o.Handler.Changed(state)
	return s, nil
}

// lose notes the end of a session or of an attempt; true if there was a session.
func (l *uplink) lose(err error) bool {
	l.mu.Lock()
	had := l.session != nil
	l.session = nil
	news := had || l.state.Err == nil || l.state.Err.Error() != err.Error()
	l.state.Err = err
	if !errors.Is(err, errRefused) {
		l.state.Refused = ""
	}
	if had {
		l.state.Connected, l.state.Since = false, time.Now()
	}
	state := l.state
	l.mu.Unlock()
	if news && !l.u.leaving.Load() {
		l.u.log.Warn("server not reached", "server", state.Name, "addr", l.addr, "error", err)
		l.u.o.Handler.Changed(state)
	}
	return had
}

func (l *uplink) current() ServerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *uplink) asked() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil {
		return 0
	}
	return l.session.interval
}

func (l *uplink) send(o outbound) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.session
	if s == nil || s.last {
		return ErrClosed
	}
	select {
	case s.queue <- o:
		s.last = o.last
		return nil
	default:
		s.cancel(ErrSlow)
		return ErrSlow
	}
}

// beat hands on a pulse, and gives the server up when too many went by without an ack. They are counted and not timed,
// so that an agent that was frozen itself doesn't blame the server. A server whose kernel takes the pulses is late, not
// lost: to connect anew would only give it more to do.
func (l *uplink) beat(seq uint64, interval time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.session
	if s == nil || s.last {
		return
	}
	if unheard := time.Duration(seq-s.acked) * interval; unheard > max(ackLimit, 4*interval) && (unheard > lateLimit || !s.reaches()) {
		s.cancel(errNoAck)
		return
	}
	select {
	case s.pulse <- seq:
	default:
		select { // replace the older one; the writer may have taken it meanwhile
		case <-s.pulse:
		default:
		}
		select {
		case s.pulse <- seq:
		default:
		}
	}
}

// write is the only sender on the stream.
func (l *uplink) write(ctx context.Context, stream clientStream, s *session) error {
	body := &agentv1.Pulse{Boot: l.u.boot.Bytes()}
	pulse := &agentv1.FromAgent{Kind: &agentv1.FromAgent_Pulse{Pulse: body}}
	for {
		select {
		case <-ctx.Done():
			return nil
		case body.Seq = <-s.pulse:
			if err := stream.Send(pulse); err != nil {
				return ended(err)
			}
		case o := <-s.queue:
			if err := stream.Send(o.msg); err != nil {
				return ended(err)
			}
			if o.last {
				return stream.CloseSend()
			}
		}
	}
}

// ended leaves the reason to the reader: a sender sees only io.EOF.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// read hands orders on until the stream ends.
func (l *uplink) read(stream clientStream, s *session, helloAt time.Time) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errEnded
		}
		if err != nil {
			return err
		}
		switch k := m.GetKind().(type) {
		case *agentv1.FromServer_Ack:
			l.u.heardEpoch(k.Ack.GetEpoch())
			l.sayEpoch(s, k.Ack.GetEpoch())
			l.mu.Lock()
			s.acked, l.state.LastAck = l.u.pulses.last(), time.Now()
			l.mu.Unlock()
		case *agentv1.FromServer_Refused:
			return l.refused(k.Refused)
		case *agentv1.FromServer_Servers:
			l.u.learn(k.Servers)
		default:
			l.order(m, helloAt)
		}
	}
}

// sayEpoch tells a server, once, of a later epoch than its own. It may lead a cluster that this host was taken over from.
func (l *uplink) sayEpoch(s *session, its uint64) {
	highest := l.u.epochs.Highest()
	if highest <= max(its, s.said) {
		return
	}
	s.said = highest
	if err := l.send(outbound{msg: &agentv1.FromAgent{Kind: &agentv1.FromAgent_Heard{Heard: &agentv1.Heard{Epoch: highest}}}}); err != nil {
		l.u.log.Warn("cannot tell a server of a later epoch", "server", l.addr, "epoch", highest, "error", err)
	}
}

func (l *uplink) order(m *agentv1.FromServer, helloAt time.Time) {
	o, ok := orderOf(m)
	if !ok {
		return // of a newer server: ignored
	}
	given, known := helloAt, true
	if heard := m.GetHeardSeq(); heard != 0 {
		given, known = l.u.pulses.sent(heard)
	}
	until, err := o.judge(l.u.epochs, given, known, time.Now())
	l.u.note() // the order's epoch may be the highest so far
	if err != nil {
		l.u.log.Warn("order refused", "server", l.addr, "order", o.id, "epoch", o.epoch, "reason", err)
		if !o.endless {
			if err := l.send(outbound{msg: refusedOrder(o.id, err)}); err != nil {
				l.u.log.Warn("cannot answer an order", "server", l.addr, "order", o.id, "error", err)
			}
		}
		return
	}
	l.u.o.Handler.Order(l.addr, m, until)
}
