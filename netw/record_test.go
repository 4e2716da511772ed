package netw

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func TestRecord(t *testing.T) {
	dir := t.TempDir()
	a, err := New(Config{Root: dir + "/r", RunRoot: dir + "/rr"})
	if err != nil {
		t.Fatal(err)
	}
	pod := filepath.Join(dir, "pod")
	if err := os.MkdirAll(pod, 0o711); err != nil {
		t.Fatal(err)
	}
	if _, err := readIntent(pod); !errors.Is(err, errdefs.ErrNotFound) {
		t.Fatalf("absent record: %v", err)
	}
	in := &intent{Version: recordVersion, ID: "abc", Name: "web", Netns: "/n", dir: pod,
		Joins: []join{{Network: "davit", IfName: "eth0", Conflist: []byte(`{}`), Args: [][2]string{{"IgnoreUnknown", "1"}}}}}
	if err := a.write(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if _, err := Attached(pod); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("incomplete attachment: %v", err)
	}
	in.Result = &Attachment{Interfaces: []Interface{{Network: "davit", Name: "eth0"}}}
	if err := a.write(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	all, err := a.intents()
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	if d := cmp.Diff(in, all[0], cmp.AllowUnexported(intent{}), addrs); d != "" {
		t.Error(d)
	}
	if got, err := Attached(pod); err != nil || len(got.Interfaces) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	var inUse *InUseError
	if err := a.Unused("davit"); !errors.As(err, &inUse) || len(inUse.Sandboxes) != 1 {
		t.Errorf("a network that is in use: %v", err)
	}
	if err := a.Unused("other"); err != nil {
		t.Errorf("another network: %v", err)
	}
	for range 2 {
		if err := a.forget(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := a.intents(); err != nil || len(all) != 0 {
		t.Fatalf("%v, %v", all, err)
	}
	if err := a.Unused("davit"); err != nil {
		t.Errorf("a network that was left: %v", err)
	}
}

// What is withdrawn is published by nobody who makes the table anew while the networks
// are left, and what the kernel remembers of it is forgotten by a repeated undo all the
// same.
func TestWithdrawnPortsAreNotPublished(t *testing.T) {
	dir := t.TempDir()
	a, err := New(Config{Root: dir + "/r", RunRoot: dir + "/rr"})
	if err != nil {
		t.Fatal(err)
	}
	in := &intent{Version: recordVersion, ID: "abc", dir: dir, TablePorts: true, Joins: []join{{Network: "davit", IfName: "eth0"}},
		Ports: []Port{{HostPort: 8080, ContainerPort: 80, Protocol: "udp"}}}
	if err := a.write(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	markWithdrawn(in) // of an attachment that did not come to its end there is nothing to note
	if in.Withdrawn {
		t.Error("what was never published is noted as withdrawn")
	}
	in.Result = &Attachment{Interfaces: []Interface{{Network: "davit", Name: "eth0", IPs: []netip.Prefix{netip.MustParsePrefix("10.87.0.2/16")}}}}
	if err := a.write(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if got := a.publishedPorts(); len(got) != 1 {
		t.Fatalf("of an attachment are published: %v", got)
	}
	markWithdrawn(in)
	if got := a.publishedPorts(); len(got) != 0 {
		t.Errorf("withdrawn, and published again: %v", got)
	}
	again, err := readIntent(dir)
	if err != nil || !again.Withdrawn || len(again.elements()) != 1 {
		t.Errorf("repeated: %+v, %v", again, err)
	}
}

func TestRecordOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, recordName), []byte(`{"version":99,"id":"a"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readIntent(dir); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("got %v", err)
	}
}
