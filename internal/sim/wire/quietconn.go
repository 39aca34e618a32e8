package wire

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// sendBuffer is what a kernel keeps for a peer that doesn't answer: Linux' default tcp_wmem maximum is 4 MiB, its start
// 16 KiB; pulses need far less.
const sendBuffer = 256 << 10

// quietConn is a host's connection. See [Cloud.Dialer] for what it does when.
type quietConn struct {
	net.Conn
	cloud *Cloud
	host  string
	boot  string
	plane world.Plane

	closed    chan struct{}
	closeOnce sync.Once
	read      deadline
	write     deadline

	readMu  sync.Mutex
	held    []byte // came while the host could not receive
	heldErr error

	sendMu   sync.Mutex
	unsent   []byte // accepted by the kernel, not sent yet
	flushing bool
}

func newQuietConn(c *Cloud, inner net.Conn, host, boot string, p world.Plane) *quietConn {
	q := &quietConn{Conn: inner, cloud: c, host: host, boot: boot, plane: p, closed: make(chan struct{})}
	q.read.expired, q.write.expired = make(chan struct{}), make(chan struct{})
	return q
}

func (q *quietConn) reach() (reach, <-chan struct{}) {
	l := q.cloud.links.Load()
	return l.reach(q.host, q.boot, q.plane), l.changed
}

// wait waits for a change of the link.
func (q *quietConn) wait(changed <-chan struct{}, d *deadline) error {
	select {
	case <-changed:
		return nil
	case <-d.wait():
		return os.ErrDeadlineExceeded
	case <-q.closed:
		return net.ErrClosed
	}
}

// Read implements net.Conn. What arrives while the host can't receive is kept until it can.
func (q *quietConn) Read(b []byte) (int, error) {
	q.readMu.Lock()
	defer q.readMu.Unlock()
	for {
		r, changed := q.reach()
		switch {
		case r != reachOpen:
			if err := q.wait(changed, &q.read); err != nil {
				return 0, err
			}
		case len(q.held) > 0:
			n := copy(b, q.held)
			q.held = q.held[n:]
			return n, nil
		case q.heldErr != nil:
			return 0, q.heldErr
		default:
			n, err := q.Conn.Read(b)
			select {
			case <-q.closed:
				return 0, net.ErrClosed
			default:
			}
			if r, _ := q.reach(); r == reachOpen || errors.Is(err, os.ErrDeadlineExceeded) {
				return n, err
			}
			q.held, q.heldErr = append(q.held, b[:n]...), err
		}
	}
}

// Write implements net.Conn.
func (q *quietConn) Write(b []byte) (int, error) {
	for {
		select {
		case <-q.closed:
			return 0, net.ErrClosed
		default:
		}
		r, changed := q.reach()
		switch r {
		case reachGone:
			return len(b), nil // there is no machine any more to complain
		case reachOpen, reachCut:
			n, err, done := q.hand(b, r == reachOpen)
			if done {
				return n, err
			}
		}
		if err := q.wait(changed, &q.write); err != nil {
			return 0, err
		}
	}
}

// hand gives bytes to the network or, if it is cut or earlier ones wait, to the
// buffer; done is false if that is full.
func (q *quietConn) hand(b []byte, open bool) (n int, err error, done bool) {
	q.sendMu.Lock()
	defer q.sendMu.Unlock()
	if open && len(q.unsent) == 0 {
		n, err = q.Conn.Write(b)
		return n, err, true
	}
	if len(q.unsent)+len(b) > sendBuffer && len(q.unsent) > 0 {
		return 0, nil, false
	}
	q.unsent = append(q.unsent, b...)
	if !q.flushing && q.cloud.ctx.Err() == nil {
		q.flushing = true
		q.cloud.wg.Go(q.flush)
	}
	return len(b), nil, true
}

// flush sends what waits as soon as the plane heals. Bytes of a machine that
// lost its power are never sent.
func (q *quietConn) flush() {
	for {
		r, changed := q.reach()
		if r == reachOpen || r == reachGone {
			q.sendMu.Lock()
			if r == reachOpen {
				_, _ = q.Conn.Write(q.unsent) // the peer has gone: the next Read says so
			}
			q.unsent, q.flushing = nil, false
			q.sendMu.Unlock()
			return
		}
		select {
		case <-changed:
		case <-q.cloud.ctx.Done():
			return
		}
	}
}

// Close implements net.Conn. The peer hears of it only if the host can still
// say so; else the socket stays until it can, or a new boot resets it.
func (q *quietConn) Close() error {
	first := false
	q.closeOnce.Do(func() { first = true; close(q.closed) })
	if !first {
		return net.ErrClosed
	}
	if r, _ := q.reach(); r == reachOpen {
		q.forget()
		return q.Conn.Close()
	}
	_ = q.Conn.SetReadDeadline(time.Unix(1, 0)) // frees a Read that still waits inside
	if q.cloud.ctx.Err() != nil {
		return nil // Cloud.Close closes the socket
	}
	q.cloud.wg.Go(func() {
		for {
			r, changed := q.reach()
			switch r {
			case reachOpen:
				q.forget()
				_ = q.Conn.Close()
				return
			case reachGone:
				return // relink resets it after the next boot
			}
			select {
			case <-changed:
			case <-q.cloud.ctx.Done():
				return
			}
		}
	})
	return nil
}

func (q *quietConn) forget() {
	q.cloud.netMu.Lock()
	delete(q.cloud.conns, q)
	q.cloud.netMu.Unlock()
}

// reset is a new kernel's answer to packets of a connection it doesn't know.
func (q *quietConn) reset() {
	if t, ok := q.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	q.shut()
}

func (q *quietConn) shut() {
	q.closeOnce.Do(func() { close(q.closed) })
	_ = q.Conn.Close()
}

// SetDeadline implements net.Conn.
func (q *quietConn) SetDeadline(t time.Time) error {
	return errors.Join(q.SetReadDeadline(t), q.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (q *quietConn) SetReadDeadline(t time.Time) error {
	q.read.set(t)
	return q.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (q *quietConn) SetWriteDeadline(t time.Time) error {
	q.write.set(t)
	return q.Conn.SetWriteDeadline(t)
}

// deadline is a time that can be waited for and moved meanwhile.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{}
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		d.expired = make(chan struct{}) // it has fired, or is about to, on the old channel
	} else {
		select {
		case <-d.expired:
			d.expired = make(chan struct{})
		default:
		}
	}
	d.timer = nil
	if t.IsZero() {
		return
	}
	at := d.expired
	if left := time.Until(t); left > 0 {
		d.timer = time.AfterFunc(left, func() { close(at) })
		return
	}
	close(at)
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired
}
