package wire

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// usual is how many bytes a pod or a container of a kubelet's takes in a list.
const usual = 1024

// encoded is a list that a kubelet asks for each second, encoded. The protobuf library
// goes through each of the maps in it by reflection, twice, which is most of what such
// a list takes. It is false for other messages, and for one with a string that is not
// UTF-8, which the library refuses.
func encoded(v any) ([]byte, bool) {
	var e encoder
	switch list := v.(type) {
	case *runtimeapi.ListPodSandboxResponse:
		e.data = make([]byte, 0, usual*len(list.GetItems()))
		for _, p := range list.GetItems() {
			e.message(1, func() { e.sandbox(p) })
		}
	case *runtimeapi.ListContainersResponse:
		e.data = make([]byte, 0, usual*len(list.GetContainers()))
		for _, c := range list.GetContainers() {
			e.message(1, func() { e.container(c) })
		}
	default:
		return nil, false
	}
	return e.data, !e.invalid
}

// encoder appends the fields of messages in the protobuf encoding
// (protobuf.dev/programming-guides/encoding). Zero values are left out.
type encoder struct {
	data    []byte
	invalid bool // a string is not UTF-8
}

func (e *encoder) sandbox(p *runtimeapi.PodSandbox) {
	e.string(1, p.GetId())
	if m := p.GetMetadata(); m != nil {
		e.message(2, func() {
			e.string(1, m.GetName())
			e.string(2, m.GetUid())
			e.string(3, m.GetNamespace())
			e.varint(4, uint64(m.GetAttempt()))
		})
	}
	e.varint(3, uint64(p.GetState()))
	e.varint(4, uint64(p.GetCreatedAt()))
	e.strings(5, p.GetLabels())
	e.strings(6, p.GetAnnotations())
	e.string(7, p.GetRuntimeHandler())
}

func (e *encoder) container(c *runtimeapi.Container) {
	e.string(1, c.GetId())
	e.string(2, c.GetPodSandboxId())
	if m := c.GetMetadata(); m != nil {
		e.message(3, func() {
			e.string(1, m.GetName())
			e.varint(2, uint64(m.GetAttempt()))
		})
	}
	if i := c.GetImage(); i != nil {
		e.message(4, func() {
			e.string(1, i.GetImage())
			e.strings(2, i.GetAnnotations())
			e.string(18, i.GetUserSpecifiedImage())
			e.string(19, i.GetRuntimeHandler())
			e.string(20, i.GetImageRef())
		})
	}
	e.string(5, c.GetImageRef())
	e.varint(6, uint64(c.GetState()))
	e.varint(7, uint64(c.GetCreatedAt()))
	e.strings(8, c.GetLabels())
	e.strings(9, c.GetAnnotations())
	e.string(10, c.GetImageId())
}

func (e *encoder) varint(field protowire.Number, v uint64) {
	if v != 0 {
		e.data = protowire.AppendVarint(protowire.AppendTag(e.data, field, protowire.VarintType), v)
	}
}

func (e *encoder) string(field protowire.Number, s string) {
	if s != "" {
		e.invalid = e.invalid || !utf8.ValidString(s)
		e.data = protowire.AppendString(protowire.AppendTag(e.data, field, protowire.BytesType), s)
	}
}

// strings appends a map, which is a list of messages with a key and a value.
func (e *encoder) strings(field protowire.Number, m map[string]string) {
	for k, v := range m {
		size := 2 + protowire.SizeBytes(len(k)) + protowire.SizeBytes(len(v)) // each tag is a byte
		e.data = protowire.AppendVarint(protowire.AppendTag(e.data, field, protowire.BytesType), uint64(size))
		e.data = protowire.AppendString(protowire.AppendTag(e.data, 1, protowire.BytesType), k)
		e.data = protowire.AppendString(protowire.AppendTag(e.data, 2, protowire.BytesType), v)
		e.invalid = e.invalid || !utf8.ValidString(k) || !utf8.ValidString(v)
	}
}

// message appends what fill appends as a message of its own: its size, which comes
// before it, is known after it.
func (e *encoder) message(field protowire.Number, fill func()) {
	e.data = protowire.AppendTag(e.data, field, protowire.BytesType)
	start := len(e.data)
	fill()
	size := len(e.data) - start
	e.data = protowire.AppendVarint(e.data, uint64(size)) // for the room
	prefix := len(e.data) - start - size
	copy(e.data[start+prefix:], e.data[start:start+size])
	protowire.AppendVarint(e.data[:start], uint64(size))
}
