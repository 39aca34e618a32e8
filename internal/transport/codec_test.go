package transport

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

func pulseBytes(t testing.TB, seq uint64, boot []byte) []byte {
	t.Helper()
	b, err := proto.Marshal(&agentv1.FromAgent{Kind: &agentv1.FromAgent_Pulse{Pulse: &agentv1.Pulse{Seq: seq, Boot: boot}}})
	must(t, err)
	return b
}

func TestPulseSize(t *testing.T) {
	const (
		grpcFrame, http2Frame = 5, 9
		tlsRecord             = 5 + 1 + 16        // header, content type, tag of TLS 1.3
		hundredYears          = 100 * 365 * 86400 // of one pulse a second
	)
	if n := len(pulseBytes(t, math.MaxUint64, bootA[:])) + grpcFrame + http2Frame; n > 64 {
		t.Errorf("the longest pulse takes %d bytes with gRPC and HTTP/2, want at most 64", n)
	}
	if n := len(pulseBytes(t, hundredYears, bootA[:])) + grpcFrame + http2Frame + tlsRecord; n > 64 {
		t.Errorf("a pulse takes %d bytes with gRPC, HTTP/2 and TLS, want at most 64", n)
	}
}

func TestPulsesTakeNoAllocation(t *testing.T) {
	b := pulseBytes(t, 1<<40, bootA[:])
	l := &Link{server: &Server{o: ServerOptions{Handler: newServerSide()}}, boot: bootA}
	in := &inbound{}
	n := testing.AllocsPerRun(100, func() {
		if err := in.decode(b); err != nil || !in.isPulse || in.seq != 1<<40 || in.boot != bootA {
			t.Fatalf("decoded %+v, %v", in, err)
		}
		l.heard.Store(0)
		if err := l.take(in, 1); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("a pulse takes %v allocations, want none", n)
	}
}

func TestDecode(t *testing.T) {
	withUnknown := append(pulseBytes(t, 5, bootA[:]), 0xf8, 0x3f, 1) // field 1023 of a newer agent
	newer := []byte{0xf8, 0x3f, 1}
	for name, c := range map[string]struct {
		b       []byte
		isPulse bool
		err     string
	}{
		"pulse":            {pulseBytes(t, 5, bootA[:]), true, ""},
		"of a newer agent": {withUnknown, true, ""},
		"short boot":       {pulseBytes(t, 5, bootA[:15]), false, "16 bytes, not 15"},
		"zero boot":        {pulseBytes(t, 5, make([]byte, 16)), false, "zero"},
		"no boot":          {pulseBytes(t, 5, nil), false, "16 bytes, not 0"},
		"cut off":          {pulseBytes(t, 5, bootA[:])[:10], false, "cannot read a message"},
		"unknown kind":     {newer, false, ""},
		"empty":            {nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := &inbound{}
			err := in.decode(c.b)
			if c.err != "" {
				wantError(t, err, c.err)
				return
			}
			must(t, err)
			if in.isPulse != c.isPulse || c.isPulse && (in.seq != 5 || in.boot != bootA) {
				t.Fatalf("decoded %+v", in)
			}
		})
	}
}

// The short way for pulses must never see something else than protobuf itself does, and nothing that an agent can send
// may bring a server down.
func FuzzFromAgent(f *testing.F) {
	f.Add(pulseBytes(f, 5, bootA[:]))
	f.Add(pulseBytes(f, 0, bootA[:]))
	f.Add([]byte{0x0a, 0x02, 0x08, 0x05})
	for _, m := range []*agentv1.FromAgent{
		{Kind: &agentv1.FromAgent_Hello{Hello: helloOf("h1", bootA)()}},
		{Kind: &agentv1.FromAgent_Guests{Guests: &agentv1.Guests{Boot: bootA[:], Guests: []*agentv1.Guest{{Uuid: "u", Pid: 1}}}}},
		{Kind: &agentv1.FromAgent_Goodbye{Goodbye: &agentv1.Goodbye{}}},
		alert("x"),
	} {
		b, err := proto.Marshal(m)
		must(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in, m := &inbound{}, &agentv1.FromAgent{}
		err, protoErr := in.decode(b), proto.Unmarshal(b, m)
		if protoErr != nil {
			if err == nil {
				t.Fatalf("taken as %+v, though it is no message: %v", in, protoErr)
			}
			return
		}
		if p, ok := m.GetKind().(*agentv1.FromAgent_Pulse); ok {
			boot, bootErr := BootFromBytes(p.Pulse.GetBoot())
			if (bootErr == nil) != (err == nil) {
				t.Fatalf("decode says %v, the boot %v", err, bootErr)
			}
			if err == nil && (!in.isPulse || in.seq != p.Pulse.GetSeq() || in.boot != boot) {
				t.Fatalf("decoded %+v, want %v", in, p.Pulse)
			}
		} else if diff := cmp.Diff(m, in.msg, protocmp.Transform()); err != nil || in.isPulse || diff != "" {
			t.Fatalf("decoded %+v, %v: %s", in, err, diff)
		}
		if err != nil {
			return
		}
		h := newServerSide()
		l := &Link{server: &Server{o: ServerOptions{Handler: h}}, boot: bootA}
		if err := l.take(in, 1); err == nil && in.isPulse && in.boot != bootA {
			t.Fatal("a pulse of another boot was taken")
		}
	})
}
