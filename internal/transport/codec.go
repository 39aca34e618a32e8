package transport

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// inbound is what a server receives into, again and again: pulses are nearly all of it and take no allocation.
type inbound struct {
	isPulse bool
	seq     uint64
	boot    Boot
	msg     *agentv1.FromAgent // nil for a pulse
}

// decode reads one FromAgent.
func (in *inbound) decode(b []byte) error {
	*in = inbound{}
	if in.seq, in.boot, in.isPulse = plainPulse(b); in.isPulse {
		return nil
	}
	m := &agentv1.FromAgent{}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("cannot read a message: %w", err)
	}
	p, ok := m.GetKind().(*agentv1.FromAgent_Pulse)
	if !ok {
		in.msg = m
		return nil
	}
	boot, err := BootFromBytes(p.Pulse.GetBoot())
	if err != nil {
		return fmt.Errorf("cannot read a pulse: %w", err)
	}
	in.isPulse, in.seq, in.boot = true, p.Pulse.GetSeq(), boot
	return nil
}

// plainPulse reads a message that is a pulse and nothing else, as our agents write it. Anything else is left to proto.
func plainPulse(b []byte) (seq uint64, boot Boot, ok bool) {
	const pulseField, seqField, bootField = 1, 1, 2 // of FromAgent and Pulse in agent.proto
	body, ok := soleBytes(b, pulseField)
	if !ok {
		return 0, Boot{}, false
	}
	num, typ, n := protowire.ConsumeTag(body)
	if n < 0 || num != seqField || typ != protowire.VarintType {
		return 0, Boot{}, false
	}
	body = body[n:]
	if seq, n = protowire.ConsumeVarint(body); n < 0 {
		return 0, Boot{}, false
	}
	raw, ok := soleBytes(body[n:], bootField)
	if !ok || len(raw) != len(boot) {
		return 0, Boot{}, false
	}
	boot = Boot(raw)
	return seq, boot, seq != 0 && !boot.IsZero()
}

// soleBytes is the content of field num if b holds that field and nothing else.
func soleBytes(b []byte, num protowire.Number) ([]byte, bool) {
	got, typ, n := protowire.ConsumeTag(b)
	if n < 0 || got != num || typ != protowire.BytesType {
		return nil, false
	}
	body, m := protowire.ConsumeBytes(b[n:])
	return body, m >= 0 && n+m == len(b)
}

// codec is gRPC's own for protobuf, but for inbound.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Unmarshal reads into inbound without an allocation for pulses.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(*inbound)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if len(data) == 1 {
		return in.decode(data[0].ReadOnlyData())
	}
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	return in.decode(buf.ReadOnlyData())
}
