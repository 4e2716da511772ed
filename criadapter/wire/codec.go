package wire

import (
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// undecodable is the number of a field that no message has: by it the codec marks
// a message that it could not decode.
const undecodable = protowire.MaxValidNumber

// codec is gRPC's own, but for lists of what there is and for a message that cannot be
// decoded.
type codec struct{ encoding.CodecV2 }

// NewCodec returns gRPC's own codec, but that lists of pods and containers are encoded
// faster, and for a message that cannot be decoded: that reaches the interceptors,
// whose Check refuses it as ErrInvalidArgument, where gRPC would answer Internal.
func NewCodec() encoding.CodecV2 { return codec{encoding.GetCodecV2(encodingproto.Name)} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if data, ok := encoded(v); ok {
		return mem.BufferSlice{mem.SliceBuffer(data)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	m, ok := v.(proto.Message)
	if err == nil || !ok {
		return err
	}
	proto.Reset(m)
	mark := protowire.AppendTag(nil, undecodable, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendString(mark, err.Error()))
	return nil
}
