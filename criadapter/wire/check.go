package wire

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What a request may hold, whatever it is about. Kubernetes keeps below these.
const (
	maxID      = 256    // bytes of an ID
	maxName    = 255    // bytes of a name, namespace or UID
	maxEntries = 10_000 // entries of a map, labels say
)

// Check refuses, as ErrInvalidArgument, what no request may be: bytes that
// are no message, NUL characters, IDs and names out of all measure, names with
// characters that are not printed, huge maps.
func Check(request any) error {
	m, ok := request.(proto.Message)
	if !ok {
		return nil
	}
	r := m.ProtoReflect()
	if num, _, n := protowire.ConsumeTag(r.GetUnknown()); n > 0 && num == undecodable {
		return fmt.Errorf("the request is not a %s: %w", r.Descriptor().Name(), errdefs.ErrInvalidArgument)
	}
	return checkMessage(r)
}

func checkMessage(m protoreflect.Message) (err error) {
	names := strings.HasSuffix(string(m.Descriptor().Name()), "Metadata")
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			err = checkMap(f, v.Map())
		case f.IsList():
			err = checkList(f, v.List())
		case f.Message() != nil:
			err = checkMessage(v.Message())
		case f.Kind() == protoreflect.StringKind:
			err = checkText(f, v.String(), names)
		}
		return err == nil
	})
	return err
}

func checkMap(f protoreflect.FieldDescriptor, m protoreflect.Map) (err error) {
	if m.Len() > maxEntries {
		return fmt.Errorf("%s has %d entries, more than %d: %w", f.Name(), m.Len(), maxEntries, errdefs.ErrInvalidArgument)
	}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		if f.MapKey().Kind() == protoreflect.StringKind {
			err = checkText(f, k.String(), false)
		}
		switch value := f.MapValue(); {
		case err != nil:
		case value.Message() != nil:
			err = checkMessage(v.Message())
		case value.Kind() == protoreflect.StringKind:
			err = checkText(f, v.String(), false)
		}
		return err == nil
	})
	return err
}

func checkList(f protoreflect.FieldDescriptor, l protoreflect.List) error {
	for i := range l.Len() {
		var err error
		switch {
		case f.Message() != nil:
			err = checkMessage(l.Get(i).Message())
		case f.Kind() == protoreflect.StringKind:
			err = checkText(f, l.Get(i).String(), false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkText checks a string; in metadata it is what people read, and part of a
// name.
func checkText(f protoreflect.FieldDescriptor, s string, metadata bool) error {
	name := string(f.Name())
	id := name == "id" || strings.HasSuffix(name, "_id")
	switch {
	case strings.ContainsRune(s, 0):
		return fmt.Errorf("%s holds a NUL character: %w", name, errdefs.ErrInvalidArgument)
	case id && len(s) > maxID:
		return fmt.Errorf("%s has %d bytes, more than %d: %w", name, len(s), maxID, errdefs.ErrInvalidArgument)
	case metadata && len(s) > maxName:
		return fmt.Errorf("%s has %d bytes, more than %d: %w", name, len(s), maxName, errdefs.ErrInvalidArgument)
	case metadata && strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%s %q holds characters that are not printed: %w", name, s, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Object names what a request is about, for the log: what the kubelet calls it,
// an ID, an image reference. Empty for those that are about nothing alone.
func Object(request any) string {
	switch r := request.(type) {
	case *runtimeapi.RunPodSandboxRequest:
		m := r.GetConfig().GetMetadata()
		return m.GetNamespace() + "/" + m.GetName()
	case *runtimeapi.CreateContainerRequest:
		return r.GetConfig().GetMetadata().GetName() + " in " + r.GetPodSandboxId()
	case interface{ GetContainerId() string }:
		return r.GetContainerId()
	case interface{ GetPodSandboxId() string }:
		return r.GetPodSandboxId()
	case interface{ GetImage() *runtimeapi.ImageSpec }:
		return r.GetImage().GetImage()
	}
	return ""
}
