package transport

import (
	"encoding/binary"
	"io"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// frames is a stream on which a server sends what the fuzzer says: each message behind its length.
type frames struct {
	clientStream
	rest []byte
}

func (s *frames) Recv() (*agentv1.FromServer, error) {
	if len(s.rest) < 2 {
		return nil, io.EOF
	}
	n := min(int(binary.BigEndian.Uint16(s.rest)), len(s.rest)-2)
	m := &agentv1.FromServer{}
	err := proto.Unmarshal(s.rest[2:2+n], m)
	s.rest = s.rest[2+n:]
	return m, err
}

// judgedOrders checks what an agent is told to do against what it has seen of epochs and time.
type judgedOrders struct {
	t       *testing.T
	epochs  *EpochFence
	highest uint64
}

func (judgedOrders) Connected(string, *agentv1.Welcome) {}
func (judgedOrders) Changed(ServerState)                {}

func (h *judgedOrders) Order(_ string, m *agentv1.FromServer, until time.Time) {
	o, ok := orderOf(m)
	if !ok || o.epoch == 0 || o.epoch < h.highest || o.epoch != h.epochs.Highest() {
		h.t.Errorf("an order of epoch %d came through after %d: %v", o.epoch, h.highest, m)
	}
	h.highest = o.epoch
	if !o.endless && (o.validity == 0 || time.Now().After(until.Add(time.Minute))) {
		h.t.Errorf("an order valid for %s came through, until %s", o.validity, until)
	}
}

// FuzzFromServer gives an agent whatever a server may send: no order of an older leader, without an epoch, or of unknown
// age comes through.
func FuzzFromServer(f *testing.F) {
	frame := func(list ...*agentv1.FromServer) (out []byte) {
		for _, m := range list {
			b, err := proto.Marshal(m)
			must(f, err)
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(b))), b...)
		}
		return out
	}
	ack := func(epoch uint64) *agentv1.FromServer {
		return &agentv1.FromServer{Kind: &agentv1.FromServer_Ack{Ack: &agentv1.Ack{Seq: 1, Epoch: epoch}}}
	}
	gate := func(epoch uint64) *agentv1.FromServer {
		return &agentv1.FromServer{Kind: &agentv1.FromServer_Gate{Gate: &agentv1.GateOrder{Boot: bootA[:], Epoch: epoch, Generation: 1, Open: true}}}
	}
	probe := &agentv1.FromServer{Kind: &agentv1.FromServer_Probe{Probe: &agentv1.ProbeOrder{Id: 1, Epoch: 9, DeadlineMs: 100, Plane: "storage"}}, HeardSeq: 77}
	f.Add(frame(ack(3), killOrder(1, 3, time.Second), ack(4), killOrder(2, 3, time.Second), killOrder(3, 4, 0)))
	f.Add(frame(gate(0), gate(5), gate(4), probe, &agentv1.FromServer{Kind: &agentv1.FromServer_Refused{Refused: &agentv1.Refused{Reason: "no"}}}))
	f.Add(frame(&agentv1.FromServer{}, &agentv1.FromServer{Kind: &agentv1.FromServer_Order{}}))
	list := func(revision uint64, addresses ...string) *agentv1.FromServer {
		return &agentv1.FromServer{Kind: &agentv1.FromServer_Servers{Servers: &agentv1.Servers{
			Revision: revision, Servers: []*agentv1.ServerAddress{{Name: "server-1", Addresses: addresses}, {Name: "a/b", Addresses: addresses}, {}},
		}}}
	}
	f.Add(frame(list(7, "10.0.0.1:7401", "x", ":1", "h:0", "h:99999", "[::1]:7401"), list(6, "10.0.0.9:7401"), list(8)))
	f.Add([]byte{0, 1, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		h := &judgedOrders{t: t, epochs: &EpochFence{}}
		u := &Uplinks{o: AgentOptions{Handler: h}, log: slog.New(slog.DiscardHandler), epochs: h.epochs}
		l := newUplink(u, "server")
		u.links.Store(&[]*uplink{l})
		err := l.read(&frames{rest: data}, &session{queue: make(chan outbound, 1)}, time.Now())
		if err == nil {
			t.Error("a stream ended without saying why")
		}
		if n := len(*u.links.Load()); n > 1+knownMost*knownMost {
			t.Errorf("the agent would keep %d links", n)
		}
	})
}
