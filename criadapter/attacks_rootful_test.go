//go:build rootful

package criadapter_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// TestAttacks sends a server what no kubelet would.
func TestAttacks(t *testing.T) {
	r := newRig(t, "")
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"every RPC", attackEveryRPC},
		{"the command line's objects", attackForeign},
		{"image names", attackImageNames},
		{"modes", attackModes},
		{"sandboxes", attackSandboxes},
		{"volumes of an image", attackVolumes},
		{"output", attackOutput},
		{"log", attackLog},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, r) })
	}
}

// filling is what a request's fields are set to.
type filling struct {
	text   string // none leaves strings, numbers and maps alone
	number int64
}

// fill sets every field of a message, and of those in it.
func (f filling) fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		switch {
		case field.IsMap():
			if field.MapValue().Kind() == protoreflect.StringKind && f.text != "" {
				m.Mutable(field).Map().Set(protoreflect.ValueOfString(f.text).MapKey(), protoreflect.ValueOfString(f.text))
			}
		case field.Message() != nil && depth == 0:
		case field.IsList() && field.Message() != nil:
			f.fill(m.Mutable(field).List().AppendMutable().Message(), depth-1)
		case field.Message() != nil:
			f.fill(m.Mutable(field).Message(), depth-1)
		case f.text == "":
		case field.IsList():
			m.Mutable(field).List().Append(f.value(field))
		default:
			m.Set(field, f.value(field))
		}
	}
}

func (f filling) value(field protoreflect.FieldDescriptor) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(f.text)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(f.text))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(f.number))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(f.number))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(f.number)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(f.number))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(f.number))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(f.number))
	}
	return field.Default()
}

// rawBytes sends and takes bytes as they are.
type rawBytes struct{}

func (rawBytes) Name() string { return "proto" }

func (rawBytes) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawBytes) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = slices.Clone(data)
	return nil
}

// invoke calls a method with the bytes of a request and reads all its answers.
func (r *rig) invoke(t *testing.T, m protoreflect.MethodDescriptor, request []byte) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	name := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	var answer []byte
	if !m.IsStreamingServer() {
		return r.conn.Invoke(ctx, name, &request, &answer, grpc.ForceCodec(rawBytes{}))
	}
	if m.Name() == "GetContainerEvents" { // it has no end
		stop := time.AfterFunc(100*time.Millisecond, cancel)
		defer stop.Stop()
	}
	stream, err := r.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, name, grpc.ForceCodec(rawBytes{}))
	if err == nil {
		err = stream.SendMsg(&request)
	}
	if err == nil {
		err = stream.CloseSend()
	}
	for err == nil {
		err = stream.RecvMsg(&answer)
	}
	if err.Error() == "EOF" || m.Name() == "GetContainerEvents" && status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}

// attackEveryRPC is S31: nothing that a request may hold makes a method panic, hang
// or touch a path, and every refusal says whose fault it is.
func attackEveryRPC(t *testing.T, r *rig) {
	id := strings.Repeat("0", 64)
	fillings := map[string]filling{
		"empty nested": {}, "path": {"../../x", 0}, "absolute": {"/x", 1}, "negative": {id, -1}, "huge": {id, 1<<63 - 1},
		"dots": {"..", 2}, "line": {"a\nb", 3}, "percent": {"%2e%2e%2f%s%n", 4},
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, service := range []protoreflect.FullName{"runtime.v1.RuntimeService", "runtime.v1.ImageService"} {
		found, err := protoregistry.GlobalFiles.FindDescriptorByName(service)
		if err != nil {
			t.Fatal(err)
		}
		methods := found.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			m := methods.Get(i)
			kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
			if err != nil {
				t.Fatal(err)
			}
			requests := map[string][]byte{"empty": nil}
			for name, f := range fillings {
				request := kind.New()
				f.fill(request, 6)
				if requests[name], err = proto.Marshal(request.Interface()); err != nil {
					t.Fatal(err)
				}
				// The same, with bytes of it changed.
				changed := slices.Clone(requests[name])
				for range len(changed) / 20 {
					changed[random.IntN(len(changed))] = byte(random.Uint32())
				}
				requests[name+", damaged"] = changed
			}
			for name, request := range requests {
				err := r.invoke(t, m, request)
				switch status.Code(err) {
				case codes.OK, codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition:
				default:
					t.Errorf("%s, %s: %v", m.Name(), name, err)
				}
			}
		}
	}
	log, err := os.ReadFile(r.server.LogAt)
	if err != nil || strings.Contains(string(log), "panick") {
		t.Errorf("the server has panicked, or its log is gone: %v", err)
	}
	for _, kind := range []string{"pods", "containers"} {
		if got, err := os.ReadDir(filepath.Join(r.davit.Roots.Root, kind)); err != nil || len(got) > 0 {
			t.Errorf("%s: %v, %v", kind, got, err)
		}
	}
}

// attackForeign: to a client of the API there are no containers and pods of the
// command line, and no infra containers.
func attackForeign(t *testing.T, r *rig) {
	run := func(args ...string) string {
		t.Helper()
		out, err := r.davit.Run(context.WithoutCancel(t.Context()), args...)
		if err != nil || out.Code != 0 {
			t.Fatalf("davit %v: exit code %d, %v\n%s", args, out.Code, err, out.Stderr)
		}
		return strings.TrimSpace(out.Stdout)
	}
	pod := run("pod", "create", "--network", "none", "--name", "own")
	t.Cleanup(func() { run("pod", "rm", "-f", "-t", "0", "own") })
	own := run("run", "-d", "-i", "--pod", "own", r.image, "sleep", "100")
	config := r.podConfig("infra")
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	theirs := r.sandbox(t, config)
	before := run("inspect", own) + run("pod", "inspect", pod)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	calls := map[string]func(id string) error{
		"StartContainer": func(id string) error {
			_, err := r.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id})
			return err
		},
		"ContainerStatus": func(id string) error {
			_, err := r.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
			return err
		},
		"UpdateContainerResources": func(id string) error {
			_, err := r.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: &runtimeapi.LinuxContainerResources{CpuShares: 99}})
			return err
		},
		"ReopenContainerLog": func(id string) error {
			_, err := r.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
			return err
		},
		"ExecSync": func(id string) error {
			_, err := r.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"true"}})
			return err
		},
		"Exec": func(id string) error {
			_, err := r.Exec(ctx, &runtimeapi.ExecRequest{ContainerId: id, Cmd: []string{"true"}, Stdout: true})
			return err
		},
		"Attach": func(id string) error {
			_, err := r.Attach(ctx, &runtimeapi.AttachRequest{ContainerId: id, Stdout: true})
			return err
		},
		"ContainerStats": func(id string) error {
			_, err := r.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: id})
			return err
		},
		"CheckpointContainer": func(id string) error {
			_, err := r.CheckpointContainer(ctx, &runtimeapi.CheckpointContainerRequest{ContainerId: id, Location: filepath.Join(r.dir, "dump.tar")})
			return err
		},
		"CreateContainer, target": func(id string) error {
			c := r.containerConfig("target", "true")
			c.Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_TARGET, TargetId: id},
			}}
			_, err := r.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: theirs, Config: c})
			return err
		},
		"PodSandboxStatus": func(id string) error {
			_, err := r.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
			return err
		},
		"UpdatePodSandboxResources": func(id string) error {
			_, err := r.UpdatePodSandboxResources(ctx, &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: id})
			return err
		},
		"PodSandboxStats": func(id string) error {
			_, err := r.PodSandboxStats(ctx, &runtimeapi.PodSandboxStatsRequest{PodSandboxId: id})
			return err
		},
		"PortForward": func(id string) error {
			_, err := r.PortForward(ctx, &runtimeapi.PortForwardRequest{PodSandboxId: id, Port: []int32{80}})
			return err
		},
		"CreateContainer": func(id string) error {
			_, err := r.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: id, Config: r.containerConfig("c", "true")})
			return err
		},
		"CheckpointPod": func(id string) error {
			dir := t.TempDir()
			_, err := r.CheckpointPod(ctx, &runtimeapi.CheckpointPodRequest{PodSandboxId: id, OutputPath: dir, ContainerIds: []string{own}})
			return err
		},
	}
	infra := slices.DeleteFunc(recordsOf(t, r, "containers"), func(id string) bool { return id == own })
	if len(infra) == 0 {
		t.Fatal("there is no infra container")
	}
	for name, call := range calls {
		for _, id := range append([]string{own, pod}, infra...) {
			if err := call(id); status.Code(err) != codes.NotFound {
				t.Errorf("%s of %s: %v, want NotFound", name, id, err)
			}
		}
	}
	for _, id := range append([]string{own, pod}, infra...) {
		_, err := r.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id})
		refused(t, err, codes.OK)
		_, err = r.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
		refused(t, err, codes.OK)
		_, err = r.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
		refused(t, err, codes.OK)
		_, err = r.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
		refused(t, err, codes.OK)
	}
	if after := run("inspect", own) + run("pod", "inspect", pod); after != before {
		t.Errorf("it was changed:\n%s\nbefore:\n%s", after, before)
	}
	if out, err := r.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: theirs}); err != nil || out.Status.State != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("the sandbox whose infra container was stopped: %v, %v", out, err)
	}
}

// recordsOf are the IDs of all objects of a kind.
func recordsOf(t *testing.T, r *rig, kind string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.davit.Roots.Root, kind))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// attackImageNames: an image's name says which registry it comes from. It is no
// file of the host, and no image of another registry that ends the same.
func attackImageNames(t *testing.T, r *rig) {
	other := r.registry.Ref("squat/short:1")
	r.push(t, harness.ImageConfig{Config: v1.Config{Labels: map[string]string{"squat": "1"}}}, "squat/short:1")
	r.pull(t, other)
	if got := r.imageStatus(t, "short:1"); got != nil {
		t.Errorf("short:1 is %v", got.RepoTags)
	}
	list, err := r.images.ListImages(t.Context(), &runtimeapi.ListImagesRequest{Filter: &runtimeapi.ImageFilter{Image: &runtimeapi.ImageSpec{Image: "short:1"}}})
	if err != nil || len(list.Images) > 0 {
		t.Errorf("images called short:1: %v, %v", list, err)
	}
	pod := r.sandbox(t, r.podConfig("squat"))
	c := r.containerConfig("c", "true")
	c.Image.Image = "short:1"
	_, err = r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
	refused(t, err, codes.NotFound)
	c = r.containerConfig("c", "true")
	c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/x", Image: &runtimeapi.ImageSpec{Image: "short:1"}}}
	_, err = r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
	refused(t, err, codes.NotFound)
	r.removeImage(t, "short:1")
	if r.imageStatus(t, other) == nil {
		t.Error("the other registry's image was removed")
	}

	archive := filepath.Join(r.dir, "image.tar")
	if out, err := r.davit.Run(t.Context(), "save", "-o", archive, r.image); err != nil || out.Code != 0 {
		t.Fatalf("saving an image: %v\n%s", err, out.Stderr)
	}
	for _, ref := range []string{"docker-archive:" + archive, "oci-archive:" + archive, "dir:" + r.dir, "docker://" + r.image} {
		_, err := r.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
		refused(t, err, codes.InvalidArgument)
	}
	r.removeImage(t, other)
}

// attackModes is S20: what is below the roots is root's alone, also for who knows
// its name. Others may pass the folders that lead to what they run.
func attackModes(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("modes"))
	c := r.containerConfig("c", "echo secret; exec sleep 100")
	c.Envs = []*runtimeapi.KeyValue{{Key: "SECRET", Value: []byte("s3cr3t")}}
	id := r.run(t, pod, c)
	if _, err := r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"true"}}); err != nil {
		t.Error(err)
	}
	roots := []string{r.davit.Roots.Root, r.davit.Roots.RunRoot, r.logs}
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return nil // it has gone
			}
			fi, err := d.Info()
			if err != nil {
				return nil
			}
			mode := fi.Mode()
			switch {
			case d.IsDir() && mode.Perm()&0o002 != 0 && mode&os.ModeSticky == 0:
				t.Errorf("%s is writable by all", path)
			case d.IsDir() && mode.Perm()&0o001 == 0:
				return filepath.SkipDir
			case mode&os.ModeSocket != 0 && mode.Perm()&0o022 != 0, mode.IsRegular() && mode.Perm()&0o044 != 0:
				t.Errorf("%s has mode %s", path, mode)
			}
			return nil
		})
	}
}

// attackSandboxes are requests for what a sandbox cannot be.
func attackSandboxes(t *testing.T, r *rig) {
	handlers := []string{"/bin/sh", "../runc", "runc ", "/usr/sbin/runc", "./runc", "-h"}
	for _, h := range handlers {
		_, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: r.podConfig("handler"), RuntimeHandler: h})
		refused(t, err, codes.InvalidArgument)
		_, err = r.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: r.image, RuntimeHandler: h}})
		refused(t, err, codes.InvalidArgument)
	}
	for key, value := range map[string]string{
		"kernel.shm_rmid_forced": "1+kernel.core_pattern=|/x", "kernel/core_pattern": "|/x", "kernel.core_pattern": "x",
		"kernel.shm_rmid_forced/../core_pattern": "x", "net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "1", "kernel.msgmax": "1\n2",
		"kernel.domainname": "x", "": "x",
	} {
		c := r.podConfig("sysctl") // on the host's network
		c.Linux.Sysctls = map[string]string{key: value}
		if key == "kernel.msgmax" || strings.HasPrefix(key, "kernel.shm") {
			c.Linux.SecurityContext.NamespaceOptions.Ipc = runtimeapi.NamespaceMode_POD
		}
		if out, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: c}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("sysctl %q=%q: %v", key, value, err)
			if err == nil {
				r.removeSandbox(t, out.PodSandboxId)
			}
		}
	}
	// S14: annotations and labels are text.
	c := r.podConfig("annotated")
	text := map[string]string{
		"io.kubernetes.cri-o.Devices": "/dev/sda:/dev/sda:rwm", "org.systemd.property.ExecStart": "'/bin/sh'", "run.oci.keep_original_groups": "1",
		"cdi.k8s.io/x": "vendor.com/class=all", "io.kubernetes.cri-o.userns-mode": "auto", "davit.infra": "true", "io.podman.annotations.privileged": "TRUE",
		"module.wasm.image/variant": "compat", "run.oci.hooks.stdout": "/tmp/x", "\x1b[2J": "a\nb",
	}
	c.Annotations, c.Labels = text, text
	pod := r.sandbox(t, c)
	k := r.containerConfig("c", "exec sleep 100")
	k.Annotations, k.Labels = text, text
	id := r.run(t, pod, k)
	spec, err := os.ReadFile(filepath.Join(r.davit.Roots.RunRoot, "containers", id, "bundle", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	for key := range text {
		if strings.Contains(string(spec), key) {
			t.Errorf("the runtime is told of %q", key)
		}
	}
	if s := r.status(t, id); len(s.Annotations) != len(text) || len(s.Labels) != len(text) {
		t.Errorf("labels and annotations are not kept: %v", s)
	}
}

// attackVolumes: the VOLUMEs of an image stay in the container.
func attackVolumes(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("volumes"))
	canary := filepath.Join(r.dir, "canary")
	if err := os.WriteFile(canary, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, path := range []string{
		"/", "/proc", "/proc/self/fd", "/sys", "/dev", "/dev/pts", "../../../../.." + r.dir, "/x/../../../../.." + r.dir, "/a\nb", "relative", "",
		"/etc/hosts", "/" + strings.Repeat("a", 300),
	} {
		tag := "volumes:" + string(rune('a'+i))
		r.push(t, harness.ImageConfig{Config: v1.Config{Volumes: map[string]struct{}{path: {}}}}, tag)
		r.pull(t, r.registry.Ref(tag))
		c := r.containerConfig("c"+string(rune('a'+i)), "echo evil >"+canary)
		c.Image.Image = r.registry.Ref(tag)
		out, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
		if err == nil {
			_, err = r.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: out.ContainerId})
			if err == nil {
				r.ended(t, out.ContainerId)
			}
			r.remove(t, out.ContainerId)
		}
		if status.Code(err) == codes.Internal {
			t.Errorf("VOLUME %.40q: %v", path, err)
		}
		if text, err := os.ReadFile(canary); err != nil || string(text) != "canary" {
			t.Fatalf("VOLUME %.40q: the host's file is %q, %v", path, text, err)
		}
		r.removeImage(t, c.Image.Image)
	}
}

// attackOutput is S17: what a command writes without end is neither kept nor in
// its way.
func attackOutput(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("output"))
	id := r.run(t, pod, r.containerConfig("c", "exec sleep 100"))
	out, err := r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"sh", "-c", "dd if=/dev/zero bs=1M count=300 2>/dev/null; dd if=/dev/zero bs=1M count=100 >&2; exit 3"}, Timeout: 60}, grpc.MaxCallRecvMsgSize(16<<20))
	if err != nil || out.ExitCode != 3 || len(out.Stdout)+len(out.Stderr) > 16<<20 {
		t.Errorf("exit code %d, %d and %d bytes, %v", out.GetExitCode(), len(out.GetStdout()), len(out.GetStderr()), err)
	}
	_, err = r.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"yes"}, Timeout: 1})
	refused(t, err, codes.DeadlineExceeded)
	text, err := os.ReadFile("/proc/" + strconv.Itoa(r.server.PID()) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(kb)[0])
			if err != nil || n > 300<<10 {
				t.Errorf("the server has needed %s", kb)
			}
		}
	}
}

// attackLog is S16 for a container that can write to its log's folder: when the
// log is opened anew, no link leads elsewhere.
func attackLog(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("log"))
	c := r.containerConfig("c", "while :; do echo evil; usleep 10000; done")
	id := r.run(t, pod, c)
	path := r.status(t, id).LogPath
	canary := filepath.Join(r.dir, "log-canary")
	if err := os.WriteFile(canary, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{path, path + ".tmp"} {
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(canary, link); err != nil {
			t.Fatal(err)
		}
		_, err := r.ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
		awaitText(t, path)
		time.Sleep(50 * time.Millisecond) // some lines more
		if text, rerr := os.ReadFile(canary); rerr != nil || string(text) != "canary" {
			t.Errorf("%s is a link (%v): the host's file is %.20q, %v", link, err, text, rerr)
		}
		if fi, err := os.Lstat(path); err != nil || !fi.Mode().IsRegular() {
			t.Errorf("the log is %v, %v", fi, err)
		}
	}
}
