package etcdtest

import (
	"net"
	"sync"
	"testing"
)

// Line is one server's way to an address; it can be cut as a cable is: nothing comes through, nobody is told. What was
// sent meanwhile arrives when it is mended, late.
type Line struct {
	Address string

	to    string
	mu    sync.Mutex
	open  sync.Cond // mended, or ended
	cut   bool
	ended bool
	conns []net.Conn
	work  sync.WaitGroup
}

// NewLine leads to an address until the test ends.
func NewLine(t testing.TB, to string) *Line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Line{Address: listener.Addr().String(), to: to}
	l.open.L = &l.mu
	l.work.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			l.work.Go(func() { l.carry(near) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		l.mu.Lock()
		l.ended = true
		for _, c := range l.conns {
			c.Close()
		}
		l.open.Broadcast()
		l.mu.Unlock()
		l.work.Wait()
	})
	return l
}

// Cut lets nothing through any more.
func (l *Line) Cut() { l.set(true) }

// Mend undoes Cut.
func (l *Line) Mend() { l.set(false) }

func (l *Line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	l.open.Broadcast()
}

// passable waits while the line is cut; false: it has ended.
func (l *Line) passable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.cut && !l.ended {
		l.open.Wait()
	}
	return !l.ended
}

func (l *Line) carry(near net.Conn) {
	if !l.keep(near) || !l.passable() {
		return
	}
	far, err := net.Dial("tcp", l.to)
	if err != nil {
		near.Close()
		return
	}
	if !l.keep(far) {
		return
	}
	l.work.Go(func() { l.copy(near, far) })
	l.copy(far, near)
}

// keep notes a connection, to be closed at the end.
func (l *Line) keep(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		c.Close()
		return false
	}
	l.conns = append(l.conns, c)
	return true
}

func (l *Line) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !l.passable() {
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
