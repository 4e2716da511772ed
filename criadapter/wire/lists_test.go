package wire

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fill sets all fields of a message that there are, so that one that a newer API adds
// and the encoder does not know is seen. Lists and maps get n entries.
func fill(m protoreflect.Message, n int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		text := protoreflect.ValueOfString(fmt.Sprintf("%s-ü-%d", f.Name(), n))
		switch {
		case f.IsMap():
			all := m.Mutable(f).Map()
			for k := range n {
				all.Set(protoreflect.ValueOfString(fmt.Sprint("key", k)).MapKey(), text)
			}
			all.Set(protoreflect.ValueOfString("").MapKey(), protoreflect.ValueOfString(""))
		case f.IsList():
			for k := range n {
				fill(m.Mutable(f).List().AppendMutable().Message(), k)
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message(), n)
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, text)
		case f.Kind() == protoreflect.EnumKind:
			m.Set(f, protoreflect.ValueOfEnum(1))
		case f.Kind() == protoreflect.Uint32Kind:
			m.Set(f, protoreflect.ValueOfUint32(7+uint32(n)))
		default:
			m.Set(f, protoreflect.ValueOfInt64(-1-int64(n)))
		}
	}
}

// The encoder's lists are the library's.
func TestEncodedLists(t *testing.T) {
	codec := NewCodec()
	for _, empty := range []proto.Message{&runtimeapi.ListPodSandboxResponse{}, &runtimeapi.ListContainersResponse{}} {
		name := empty.ProtoReflect().Descriptor().Name()
		for n := range 5 {
			want := proto.Clone(empty)
			fill(want.ProtoReflect(), n)
			if _, ok := encoded(want); !ok {
				t.Errorf("%s is not encoded here", name)
			}
			data, err := codec.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			got := proto.Clone(empty)
			if err := codec.Unmarshal(data, got); err != nil || !proto.Equal(got, want) {
				t.Errorf("%s: %v\n%v\nwant\n%v", name, err, got, want)
			}
		}
	}
	sparse := &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{{}, {Id: "x"}, {Metadata: &runtimeapi.ContainerMetadata{}}}}
	data, ok := encoded(sparse)
	got := &runtimeapi.ListContainersResponse{}
	if err := proto.Unmarshal(data, got); err != nil || !ok || !proto.Equal(got, sparse) {
		t.Errorf("%v, %v; want %v", got, err, sparse)
	}
}

// What is not UTF-8 is refused as the library refuses it, and what is no list is left
// to it.
func TestNotEncoded(t *testing.T) {
	bad := string([]byte{0xff})
	for name, list := range map[string]proto.Message{
		"id":       &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{{Id: bad}}},
		"metadata": &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{{Metadata: &runtimeapi.ContainerMetadata{Name: bad}}, {Id: "x"}}},
		"label":    &runtimeapi.ListPodSandboxResponse{Items: []*runtimeapi.PodSandbox{{Labels: map[string]string{"a": bad}}}},
	} {
		if _, err := NewCodec().Marshal(list); err == nil {
			t.Errorf("%s that is not UTF-8 is sent", name)
		}
	}
	if _, ok := encoded(&runtimeapi.VersionResponse{}); ok {
		t.Error("a message that is no list is encoded here")
	}
}

func BenchmarkMarshalPods(b *testing.B) {
	list := &runtimeapi.ListPodSandboxResponse{}
	fill(list.ProtoReflect(), 4)
	for len(list.Items) < 100 {
		list.Items = append(list.Items, list.Items[3])
	}
	for name, marshal := range map[string]func() error{
		"here":    func() error { _, _ = encoded(list); return nil },
		"library": func() error { _, err := proto.Marshal(list); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := marshal(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
