package server

import (
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
	"github.com/ninelives-ha/ninelives/proto/peerv1"
)

// framed is a stream of messages, each behind its length.
func framed(t testing.TB, list ...proto.Message) (out []byte) {
	t.Helper()
	for _, m := range list {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(b))), b...)
	}
	return out
}

// unframed reads such a stream as far as it holds messages.
func unframed[M proto.Message](data []byte, empty func() M, take func(M)) {
	for len(data) >= 2 {
		n := min(int(binary.BigEndian.Uint16(data)), len(data)-2)
		if m := empty(); proto.Unmarshal(data[2:2+n], m) == nil {
			take(m)
		}
		data = data[2+n:]
	}
}

// direct is a host's agent without a network.
func direct(t testing.TB, host string, n int) *transport.Link {
	t.Helper()
	boot, err := transport.ParseBoot(uuid(n + 100))
	if err != nil {
		t.Fatal(err)
	}
	return transport.Direct{
		Host: host, Machine: pki.Machine{UUID: uuid(n)}, Boot: boot, Remote: host, Deliver: func(*agentv1.FromServer) {}, Dropped: func(string) {},
	}.Link()
}

// FuzzAgentSays is an agent of our CA that may say anything: it is taken for its own host only, and what is kept of it is
// bounded.
func FuzzAgentSays(f *testing.F) {
	boot := direct(f, "h", 1).Boot()
	for _, h := range []*agentv1.Hello{
		{Host: "h1", Boot: boot[:], Planes: map[string]string{"storage": "10.0.0.1", "moon": "x"}, Labels: map[string]string{"rack": "r1", "": ""}, ProbePort: 1 << 30},
		{Host: "h2", AgentVersion: "1", Nova: &agentv1.Nova{Host: "h2", Autostarted: []string{"a", "a"}}}, {},
	} {
		hello, err := proto.Marshal(h)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(hello, framed(f,
			&agentv1.FromAgent{Kind: &agentv1.FromAgent_Guests{Guests: &agentv1.Guests{Boot: boot[:], Guests: []*agentv1.Guest{{Uuid: uuid(7)}, {Uuid: "x"}}}}},
			&agentv1.FromAgent{Kind: &agentv1.FromAgent_Stores{Stores: &agentv1.Stores{Stores: []*agentv1.Store{{Kind: "nfs", Identity: "s"}, {}}}}},
			&agentv1.FromAgent{Kind: &agentv1.FromAgent_Gate{Gate: &agentv1.GateState{Boot: boot[:], Open: true, Generation: 1 << 60}}},
			&agentv1.FromAgent{Kind: &agentv1.FromAgent_Probed{Probed: &agentv1.Probed{OrderId: 1, Plane: "storage", Results: []*agentv1.ProbeResult{{Host: "h2", AgeMs: 1 << 31}}}}},
			&agentv1.FromAgent{Kind: &agentv1.FromAgent_Result{Result: &agentv1.Result{OrderId: 1, Ok: true}}},
			&agentv1.FromAgent{Kind: &agentv1.FromAgent_Alert{Alert: &agentv1.Alert{Uuid: "u", Text: "t"}}},
			&agentv1.FromAgent{Kind: &agentv1.FromAgent_Goodbye{Goodbye: &agentv1.Goodbye{Leaving: agentv1.Leaving_LEAVING_HOST}}},
			&agentv1.FromAgent{}))
	}
	f.Fuzz(func(t *testing.T, hello, said []byte) {
		h := &agentv1.Hello{}
		if proto.Unmarshal(hello, h) != nil {
			return
		}
		s := bare(t, nil, Options{})
		s.ears.step(detect.HostKnown{Host: "h2", Protected: true})
		other := direct(t, "h2", 2)
		if _, err := s.agents.Hello(other, &agentv1.Hello{Host: "h2"}); err != nil {
			t.Fatal(err)
		}
		knows := func() (AgentRecord, detect.Assessment) {
			as, _ := s.ears.assess("h2")
			s.agents.mu.Lock()
			defer s.agents.mu.Unlock()
			return s.agents.records["h2"], as
		}
		record, judged := knows()
		l := direct(t, "h1", 1)
		if _, err := s.agents.Hello(l, h); err != nil {
			t.Fatalf("an agent of our CA was not heard: %v", err)
		}
		unframed(said, func() *agentv1.FromAgent { return &agentv1.FromAgent{} }, func(m *agentv1.FromAgent) { s.agents.Message(l, m) })
		s.agents.Closed(l, transport.EndEOF, nil)
		after, verdict := knows()
		if d := cmp.Diff(record, after); d != "" || verdict.Verdict != judged.Verdict {
			t.Errorf("h1's agent changed what is known of h2: %s %s", verdict.Verdict, d)
		}
		s.agents.mu.Lock()
		defer s.agents.mu.Unlock()
		for host, a := range s.agents.records {
			if text, err := json.Marshal(a); err != nil || len(text) > 512<<10 || host != "h1" && host != "h2" {
				t.Errorf("%d bytes are kept of %q: %v", len(text), host, err)
			}
		}
	})
}

// FuzzPeerSays is what another server may tell the leader of the hosts it hears. Only what answers an Ask of ours in time
// is life.
func FuzzPeerSays(f *testing.F) {
	boot := direct(f, "h", 1).Boot()
	stream := &peerv1.Stream{Number: 1, Host: "h1", Boot: boot[:], Id: "s"}
	f.Add(framed(f, &peerv1.Heard{Since: 1, Streams: []*peerv1.Stream{stream}, Sees: 1}, &peerv1.Heard{Since: 1, Pulses: []uint32{1, 9}, Lost: []*peerv1.Lost{{Number: 1, Said: true}}}), true)
	f.Add(framed(f, &peerv1.Heard{Since: 7, Streams: []*peerv1.Stream{stream, {Number: 1}}, Sees: 1 << 31}, &peerv1.Heard{Since: 7, Pulses: []uint32{1}}, &peerv1.Heard{Since: 1, Pulses: []uint32{1}}), false)
	f.Add(framed(f, &peerv1.Heard{Since: 1, Streams: []*peerv1.Stream{stream}, Pulses: []uint32{1}, Doubts: true}), true)
	f.Fuzz(func(t *testing.T, said []byte, inTime bool) {
		s := bare(t, nil, Options{})
		s.relays = &relays{s: s, others: map[string]*other{}}
		l := &listening{v: s.relays, name: "server-2", sent: map[uint64]time.Time{}, streams: map[uint32]detect.Pulse{}}
		now := time.Now()
		if inTime {
			l.asks(1, now)
		} else {
			l.asks(1, now.Add(-time.Minute))
		}
		s.ears.step(detect.HostKnown{Host: "h1", Protected: true})
		unframed(said, func() *peerv1.Heard { return &peerv1.Heard{} }, func(m *peerv1.Heard) { l.take(m, now) })
		if as, _ := s.ears.assess("h1"); as.Verdict == detect.Up && !inTime {
			t.Errorf("h1 is up by an answer to no Ask of ours: %+v", as)
		}
	})
}
