package probe

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newProber(t *testing.T) *Prober {
	t.Helper()
	p, err := New(Options{Attempt: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func echo(t *testing.T) *Echo {
	t.Helper()
	e, err := Listen(0, true, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestAgentAnswers(t *testing.T) {
	p, e := newProber(t), echo(t)
	for _, address := range []string{"127.0.0.1", "127.7.7.7"} { // the second proves that it answers from where it was asked
		got, err := p.Probe(within(t, 5*time.Second), Target{Address: address, Port: e.Port(), Nonce: []byte("of the one who asked")})
		if got != Agent || err != nil {
			t.Errorf("%s: got %q, %v; want the agent", address, got, err)
		}
	}
}

func TestAgentAnswersOnIPv6(t *testing.T) {
	e, err := Listen(0, true, true)
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	defer e.Close()
	got, err := newProber(t).Probe(within(t, 5*time.Second), Target{Address: "::1", Port: e.Port()})
	if got != Agent {
		t.Errorf("got %q, %v; want the agent", got, err)
	}
}

func TestKernelAnswersWhereNoAgentDoes(t *testing.T) {
	p := newProber(t)
	if !p.ICMP() {
		t.Skip("this process may not send ICMP: run as root, or set net.ipv4.ping_group_range")
	}
	closed := echo(t)
	port := closed.Port()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, port := range []uint32{0, port} {
		began := time.Now()
		got, err := p.Probe(within(t, 5*time.Second), Target{Address: "127.0.0.1", Port: port})
		if got != Kernel || err != nil {
			t.Errorf("port %d: got %q, %v; want the kernel", port, got, err)
		}
		if time.Since(began) > 2*time.Second {
			t.Errorf("port %d: it waited %s for an agent that is known not to be there", port, time.Since(began))
		}
	}
	if got, err := p.Probe(within(t, 5*time.Second), Target{Address: "::1"}); got != Kernel {
		t.Logf("IPv6: %q, %v", got, err)
	}
}

// liar answers every packet with what twist makes of it.
func liar(t *testing.T, twist func(question []byte) []byte) uint32 {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if b := twist(buf[:n]); b != nil {
				_, _ = c.WriteTo(b, from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return uint32(c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
}

// What doesn't carry the nonce is no life, however friendly.
func TestOnlyTheNonceIsLife(t *testing.T) {
	p := newProber(t)
	p.icmp = icmpNone
	var first []byte
	for name, twist := range map[string]func([]byte) []byte{
		"silence":                func([]byte) []byte { return nil },
		"the question sent back": func(q []byte) []byte { return q },
		"an answer of another time": func(q []byte) []byte { // replays the first answer for ever
			if first == nil {
				first = append(append([]byte{}, answerMark[:]...), bytes.Repeat([]byte{7}, len(nonce{}))...)
			}
			return first
		},
		"one bit off": func(q []byte) []byte {
			b, _ := reply(bytes.Clone(q))
			b[len(b)-1] ^= 1
			return b
		},
		"longer": func(q []byte) []byte {
			b, _ := reply(bytes.Clone(q))
			return append(bytes.Clone(b), 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := p.Probe(within(t, 200*time.Millisecond), Target{Address: "127.0.0.1", Port: liar(t, twist)})
			if got != None || err == nil {
				t.Errorf("got %q, %v; want nobody, with an explanation", got, err)
			}
		})
	}
}

func TestLostPacketsAreAskedAgain(t *testing.T) {
	p := newProber(t)
	p.icmp = icmpNone
	asked := 0
	port := liar(t, func(q []byte) []byte {
		if asked++; asked < 3 {
			return nil
		}
		b, _ := reply(q)
		return b
	})
	if got, err := p.Probe(within(t, 5*time.Second), Target{Address: "127.0.0.1", Port: port}); got != Agent {
		t.Errorf("got %q, %v; want the agent at the third question", got, err)
	}
}

func TestWhatCannotBeProbed(t *testing.T) {
	p := newProber(t)
	for _, tc := range []struct {
		ctx  context.Context
		to   Target
		want string
	}{
		{within(t, time.Second), Target{Address: "compute-01"}, "no IP address"},
		{t.Context(), Target{Address: "127.0.0.1"}, "deadline"},
		{within(t, time.Second), Target{Address: "127.0.0.1", Nonce: make([]byte, NonceMost+1)}, "nonce"},
		{within(t, time.Second), Target{Address: "127.0.0.1", Port: 70000}, "port"},
	} {
		if got, err := p.Probe(tc.ctx, tc.to); got != None || err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: got %q, %v; want nobody and %q", tc.to, got, err, tc.want)
		}
	}
	if _, err := New(Options{Sources: map[string]string{"storage": "eth1"}}); err == nil || !strings.Contains(err.Error(), "storage") {
		t.Errorf("a source that is no address: %v", err)
	}
}

// A probe of a plane leaves from this host's address there.
func TestProbesLeaveFromTheirPlane(t *testing.T) {
	p, err := New(Options{Sources: map[string]string{"storage": "127.0.0.9"}, Attempt: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	p.icmp = icmpNone
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	from := make(chan string, 1)
	go func() {
		buf := make([]byte, 1500)
		n, a, err := c.ReadFrom(buf)
		if err != nil {
			from <- err.Error()
			return
		}
		from <- a.(*net.UDPAddr).IP.String()
		b, _ := reply(buf[:n])
		_, _ = c.WriteTo(b, a)
	}()
	got, err := p.Probe(within(t, 5*time.Second), Target{Plane: "storage", Address: "127.0.0.1", Port: uint32(c.LocalAddr().(*net.UDPAddr).Port)})
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if a := <-from; got != Agent || a != "127.0.0.9" {
		t.Errorf("got %q, %v from %s; want the agent, asked from 127.0.0.9", got, err, a)
	}
}

// The port answers questions only, never with more than it was asked.
func TestEchoIsNoAmplifier(t *testing.T) {
	good := ask(nonce{1, 2, 3})
	for name, tc := range map[string]struct {
		packet []byte
		want   int
	}{
		"a question":       {good, answerSize},
		"empty":            {nil, 0},
		"short":            {good[:63], 0},
		"long":             {append(bytes.Clone(good), 0), 0},
		"an answer":        {append(bytes.Clone(answerMark[:]), good[4:]...), 0}, // or two echoes would talk for ever
		"rubbish behind":   {append(bytes.Clone(good[:63]), 1), 0},
		"another protocol": {bytes.Repeat([]byte("x"), 64), 0},
	} {
		got, ok := reply(bytes.Clone(tc.packet))
		if len(got) != tc.want || ok != (tc.want > 0) {
			t.Errorf("%s: %d bytes back, %t; want %d", name, len(got), ok, tc.want)
		}
	}
	if answerSize >= questionSize {
		t.Errorf("an answer has %d bytes, a question %d", answerSize, questionSize)
	}
}

func TestEchoAnswersABoundedNumber(t *testing.T) {
	e := echo(t)
	c, err := net.Dial("udp4", e.conns[0].LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := 0
	buf := make([]byte, 100)
	began := time.Now()
	for time.Since(began) < 300*time.Millisecond {
		for range 20 { // may meet a full buffer: that is the point
			_, _ = c.Write(ask(nonce{}))
		}
		if err := c.SetReadDeadline(time.Now().Add(2 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := c.Read(buf); err != nil {
				break
			}
			answers++
		}
	}
	most := answerBurst + int(answersMost*time.Since(began).Seconds()) + 20
	if answers == 0 || answers > most {
		t.Errorf("%d answers in %s, want from 1 to %d", answers, time.Since(began), most)
	}
}

// A probe ends when its context does.
func TestProbeEndsWithItsContext(t *testing.T) {
	p := newProber(t)
	p.icmp = icmpNone
	p.attempt = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	port := liar(t, func([]byte) []byte { cancel(); return nil })
	began := time.Now()
	if got, _ := p.Probe(ctx, Target{Address: "127.0.0.1", Port: port}); got != None || time.Since(began) > 5*time.Second {
		t.Errorf("got %q after %s", got, time.Since(began))
	}
}

func FuzzReply(f *testing.F) {
	f.Add(ask(nonce{1}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, ok := reply(b); ok && len(got) >= len(b) {
			t.Errorf("%d bytes answer %d", len(got), len(b))
		}
	})
}
