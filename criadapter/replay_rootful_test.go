//go:build rootful

package criadapter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// call is one of the kubelet's, with what its answer must hold.
type call struct {
	RPC     string
	Request json.RawMessage
	Want    any           // each field that is named here must be so in the answer
	Keep    string        // the answer's ID is $Keep from now on
	Code    string        // the class of the error
	Within  time.Duration // the call is repeated until its answer is as wanted, for so long; in nanoseconds
	Why     string
}

// messages makes the request and the answer of an RPC, empty.
func messages(rpc string) (request, answer any, err error) {
	switch rpc {
	case "Version":
		return &runtimeapi.VersionRequest{}, &runtimeapi.VersionResponse{}, nil
	case "Status":
		return &runtimeapi.StatusRequest{}, &runtimeapi.StatusResponse{}, nil
	case "RuntimeConfig":
		return &runtimeapi.RuntimeConfigRequest{}, &runtimeapi.RuntimeConfigResponse{}, nil
	case "RunPodSandbox":
		return &runtimeapi.RunPodSandboxRequest{}, &runtimeapi.RunPodSandboxResponse{}, nil
	case "PodSandboxStatus":
		return &runtimeapi.PodSandboxStatusRequest{}, &runtimeapi.PodSandboxStatusResponse{}, nil
	case "ListPodSandbox":
		return &runtimeapi.ListPodSandboxRequest{}, &runtimeapi.ListPodSandboxResponse{}, nil
	case "StopPodSandbox":
		return &runtimeapi.StopPodSandboxRequest{}, &runtimeapi.StopPodSandboxResponse{}, nil
	case "RemovePodSandbox":
		return &runtimeapi.RemovePodSandboxRequest{}, &runtimeapi.RemovePodSandboxResponse{}, nil
	case "CreateContainer":
		return &runtimeapi.CreateContainerRequest{}, &runtimeapi.CreateContainerResponse{}, nil
	case "StartContainer":
		return &runtimeapi.StartContainerRequest{}, &runtimeapi.StartContainerResponse{}, nil
	case "StopContainer":
		return &runtimeapi.StopContainerRequest{}, &runtimeapi.StopContainerResponse{}, nil
	case "RemoveContainer":
		return &runtimeapi.RemoveContainerRequest{}, &runtimeapi.RemoveContainerResponse{}, nil
	case "ContainerStatus":
		return &runtimeapi.ContainerStatusRequest{}, &runtimeapi.ContainerStatusResponse{}, nil
	case "ListContainers":
		return &runtimeapi.ListContainersRequest{}, &runtimeapi.ListContainersResponse{}, nil
	case "ListContainerStats":
		return &runtimeapi.ListContainerStatsRequest{}, &runtimeapi.ListContainerStatsResponse{}, nil
	case "ExecSync":
		return &runtimeapi.ExecSyncRequest{}, &runtimeapi.ExecSyncResponse{}, nil
	case "ImageStatus":
		return &runtimeapi.ImageStatusRequest{}, &runtimeapi.ImageStatusResponse{}, nil
	case "PullImage":
		return &runtimeapi.PullImageRequest{}, &runtimeapi.PullImageResponse{}, nil
	}
	return nil, nil, fmt.Errorf("no messages of %s are known here", rpc)
}

// TestKubeletReplay sends what a kubelet 1.37 sends for a static pod with an init
// container, from its start to its removal, in the order in which it sends it.
func TestKubeletReplay(t *testing.T) {
	d := harness.TestDavit(t)
	registry := harness.TestRegistry(t, harness.RegistryConfig{})
	img, err := harness.Busybox(t.Context(), harness.ImageConfig{})
	if err == nil {
		err = registry.Push(t.Context(), "web:1", img)
	}
	if err == nil {
		err = d.Roots.TrustRegistry(registry.Addr)
	}
	if err == nil {
		err = d.Roots.AddPodNetwork(94)
	}
	if err != nil {
		t.Fatal(err)
	}
	server, err := harness.StartCRI(t.Context(), d, filepath.Join(d.Roots.Dir, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		if leases := d.Roots.Leases(); len(leases) > 0 {
			t.Errorf("address leases are left: %v", leases)
		}
	})
	t.Cleanup(removeKubeletCgroups)
	conn, err := grpc.NewClient("unix://"+server.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	dir := filepath.Join(d.Roots.Dir, "kubelet")
	for name, text := range map[string]string{"etc-hosts": "127.0.0.1 localhost\n", "web-log": "", "init-log": "", "shared/.keep": "", "pod-logs/.keep": ""} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	known := map[string]string{"dir": dir, "image": registry.Ref("web:1")}
	data, err := os.ReadFile("testdata/kubelet-static-pod.json")
	if err != nil {
		t.Fatal(err)
	}
	var calls []json.RawMessage
	if err := json.Unmarshal(data, &calls); err != nil {
		t.Fatal(err)
	}
	for i, raw := range calls {
		if err := replay(t.Context(), conn, raw, known); err != nil {
			log, _ := os.ReadFile(server.LogAt)
			t.Fatalf("call %d: %v\nthe server says:\n%s", i, err, log)
		}
	}
}

// removeKubeletCgroups takes away the parents of the pod's cgroup, which are the
// kubelet's to make and to remove.
func removeKubeletCgroups() {
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		for _, below := range []string{"kube/kubepods/burstable/pod*", "kube/kubepods/burstable", "kube/kubepods", "kube"} {
			dirs, _ := filepath.Glob(filepath.Join(hierarchy, below))
			for _, d := range dirs {
				_ = os.Remove(d)
			}
		}
	}
}

// replay sends one call, with what is known put in place of $names.
func replay(ctx context.Context, conn *grpc.ClientConn, raw json.RawMessage, known map[string]string) error {
	var pairs []string
	for name, value := range known {
		pairs = append(pairs, "$"+name, value)
	}
	var c call
	if err := json.Unmarshal([]byte(strings.NewReplacer(pairs...).Replace(string(raw))), &c); err != nil {
		return err
	}
	request, answer, err := messages(c.RPC)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(c.Request, request); err != nil {
		return fmt.Errorf("%s: reading the request: %w", c.RPC, err)
	}
	began := time.Now()
	for {
		err := c.send(ctx, conn, request, answer, known)
		if err == nil || time.Since(began) > c.Within {
			if err != nil {
				err = fmt.Errorf("%s %s (%s): %w", c.RPC, c.Request, c.Why, err)
			}
			return err
		}
		time.Sleep(20 * time.Millisecond)
		if _, answer, err = messages(c.RPC); err != nil {
			return err
		}
	}
}

func (c call) send(ctx context.Context, conn *grpc.ClientConn, request, answer any, known map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	service := "RuntimeService"
	if strings.Contains(c.RPC, "Image") {
		service = "ImageService"
	}
	err := conn.Invoke(ctx, "/runtime.v1."+service+"/"+c.RPC, request, answer)
	if got := status.Code(err); c.Code != "" || err != nil {
		if got.String() != c.Code || got == codes.OK {
			return fmt.Errorf("answered %v, want the class %q", err, c.Code)
		}
		return nil
	}
	data, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	if c.Keep != "" {
		for _, name := range []string{"pod_sandbox_id", "container_id", "image_ref"} {
			if id, ok := fields[name].(string); ok {
				known[c.Keep] = id
			}
		}
	}
	if err := holds(fields, c.Want, ""); err != nil {
		return fmt.Errorf("%w\nin %s", err, data)
	}
	return nil
}

// holds says where an answer lacks what is wanted. A list must be of the same
// length; "*" is any value that is not empty.
func holds(got, want any, at string) error {
	switch want := want.(type) {
	case nil:
		return nil
	case map[string]any:
		fields, _ := got.(map[string]any)
		for name, w := range want {
			if err := holds(fields[name], w, at+"."+name); err != nil {
				return err
			}
		}
		return nil
	case []any:
		items, _ := got.([]any)
		if len(items) != len(want) {
			return fmt.Errorf("%s: %d items, want %d", at, len(items), len(want))
		}
		for i := range want {
			if err := holds(items[i], want[i], fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return nil
	}
	if want == "*" && got != nil && got != "" || got == want || got == nil && (want == "" || want == 0.0 || want == false) {
		return nil
	}
	return fmt.Errorf("%s: got %v, want %v", at, got, want)
}
