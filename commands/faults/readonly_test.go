//go:build faults

package faults

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/harness"
)

// storeDisk is newDisk for the layers alone.
func storeDisk(t *testing.T, megabytes int) (disk func() *harness.Disk, prepare func(harness.Roots) error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	var d *harness.Disk
	return func() *harness.Disk { return d }, func(r harness.Roots) (err error) {
		store := filepath.Join(r.Root, "storage")
		if err := os.Mkdir(store, 0o700); err != nil {
			return err
		}
		d, err = harness.NewDisk(t.Context(), filepath.Join(r.Dir, "disk"), store, megabytes)
		return err
	}
}

// readOnlyDisk makes a disk of the node's read-only and looks what davit does: it
// reads, refuses to write within a second and says why, and its server starts. What
// runs goes on. Once the disk is writable everything works again.
func (n *node) readOnlyDisk(d *harness.Disk, stopsOnIt bool) {
	t := n.t
	s := n.serve()
	pod := s.sandbox(s.podConfig("kept"))
	kube := s.container(pod, s.containerConfig("c", "echo up; exec sleep 1000"))
	// A log that is open for writing would keep the disk from being made read-only.
	n.must("run", "-d", "--name", "web", "--log-opt", "path="+filepath.Join(n.Roots.Dir, "web.log"), n.image, "sh", "-c", "echo up; exec sleep 1000")
	n.must("run", "--name", "done", "--network", "none", n.image, "true")
	n.must("volume", "create", "data")
	if err := d.ReadOnly(t.Context(), true); err != nil {
		t.Fatal(err)
	}

	// The server that runs, and one that starts, say what they know.
	if _, err := s.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := s.images.ListImages(t.Context(), &runtimeapi.ListImagesRequest{}); err != nil && !strings.Contains(err.Error(), "read-only") {
		t.Error(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	n.within(5*time.Second, s.start)
	for _, read := range [][]string{
		{"ps", "-a"}, {"inspect", "web"}, {"logs", "web"}, {"top", "web"}, {"exec", "web", "true"}, {"pod", "ps"}, {"images"}, {"inspect", n.image},
		{"network", "ls"}, {"volume", "ls"}, {"volume", "inspect", "data"}, {"stats", "--no-stream", "web"},
	} {
		if r := n.try(read...); r.Code != 0 || r.Took > 5*time.Second {
			t.Errorf("davit %v: exit code %d in %s\n%s", read, r.Code, r.Took, r.Stderr)
		}
	}
	if got := n.must("logs", "web").Stdout; got != "up\n" {
		t.Errorf("the log is %q", got)
	}
	if got := s.status(kube).State; got != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the kubelet's container is %s", got)
	}
	if _, err := s.images.ListImages(t.Context(), &runtimeapi.ListImagesRequest{}); err != nil {
		t.Error(err)
	}
	const says = `read-only[\s\S]*Hint: .*read-only`
	writes := [][]string{{"create", "--name", "new", n.image, "true"}, {"pull", "-q", n.image}, {"rmi", "--force", n.image}}
	if stopsOnIt {
		writes = append(writes, []string{"volume", "create", "more"}, []string{"pod", "create"}, []string{"rename", "done", "dusk"}, []string{"network", "create", "more"})
	}
	for _, write := range writes {
		r := n.fails(125, says, write...)
		t.Logf("davit %v: %s", write, r.Took)
		n.slow(write, r.Took)
	}
	began := time.Now()
	_, err := s.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: s.containerConfig("d", "true")})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("CreateContainer: %v", err)
	}
	_, err = s.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: n.image}})
	if status.Code(err) == codes.OK || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("PullImage: %v", err)
	}
	n.slow([]string{"two RPCs"}, time.Since(began)/2)
	// What runs can be stopped, whatever can be written.
	n.try("stop", "-t", "0", "web")
	if got := n.must("ps", "-a", "--filter", "name=web", "--format", "{{.State}}").Line(); got != "exited" {
		t.Errorf("after a stop it is %q", got)
	}

	if err := d.ReadOnly(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	again := s.sandbox(s.podConfig("again"))
	s.container(again, s.containerConfig("c", "exec sleep 1000"))
	if _, err := s.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: n.image}}); err != nil {
		t.Errorf("PullImage, once the disk is writable: %v", err)
	}
	s.remove(again)
	n.must("start", "web")
	n.must("pull", "-q", n.image)
	n.must("run", "--rm", n.image, "true")
	s.remove(pod)
	n.must("rm", "--force", "-t", "0", "web", "done")
	n.must("volume", "rm", "--all")
	n.empty()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// slow tells of a refusal that took too long.
func (n *node) slow(what []string, took time.Duration) {
	n.t.Helper()
	if took > time.Second {
		n.t.Errorf("%v took %s", what, took)
	}
}

func TestF28StateReadOnly(t *testing.T) {
	disk, prepare := newDisk(t, 256)
	n := newNodeOn(t, prepare, "")
	n.readOnlyDisk(disk(), true)
}

func TestF28LayersReadOnly(t *testing.T) {
	disk, prepare := storeDisk(t, 256)
	n := newNodeOn(t, prepare, "")
	n.readOnlyDisk(disk(), false)
}

// The folder of logs is on a disk that is full. Containers that write go on, one
// starts, and what they write is logged again as soon as there is space.
func TestF27LogFolderFull(t *testing.T) {
	n := newNode(t, "")
	s := n.serve()
	config := s.podConfig("loud")
	dir := config.LogDirectory
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	pod := s.sandbox(config)
	shared := t.TempDir()
	loud := func(name, log string) string {
		c := s.containerConfig(name, "i=0; while :; do i=$((i+1)); echo $i of "+strings.Repeat("0123456789", 20)+"; echo $i >/shared/"+name+".new; mv /shared/"+name+".new /shared/"+name+"; done")
		c.LogPath = log
		c.Mounts = []*runtimeapi.Mount{{HostPath: shared, ContainerPath: "/shared"}}
		return s.container(pod, c)
	}
	goesOn := func(name string) {
		t.Helper()
		was := n.number(filepath.Join(shared, name))
		n.eventually(name+" goes on", func() bool { return n.number(filepath.Join(shared, name)) > was+1000 })
	}
	first := loud("first", "first.log")
	n.eventually("the disk is full", func() bool { bytes, _ := n.left(dir); return bytes == 0 })
	goesOn("first")
	second := loud("second", "second.log")
	goesOn("second")
	// A kubelet's rotation finds no more space than the container did.
	if err := os.Rename(filepath.Join(dir, "first.log"), filepath.Join(dir, "first.log.1")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: first}); err != nil {
		t.Error(err)
	}
	goesOn("first")
	if got, err := s.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: first, Cmd: []string{"echo", "out"}}); err != nil || string(got.Stdout) != "out\n" {
		t.Errorf("an exec prints %q, %v", got.GetStdout(), err)
	}
	if err := os.Remove(filepath.Join(dir, "first.log.1")); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"first": first, "second": second} {
		before := n.number(filepath.Join(shared, name))
		log := filepath.Join(dir, name+".log")
		n.eventually(name+" is logged again", func() bool {
			if bytes, _ := n.left(dir); bytes == 0 {
				if err := os.Truncate(log, 0); err != nil {
					t.Fatal(err)
				}
			}
			return lastLogged(log) > before
		})
		if got := s.status(id).State; got != runtimeapi.ContainerState_CONTAINER_RUNNING {
			t.Errorf("%s is %s", name, got)
		}
		if _, err := s.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
			t.Error(err)
		}
	}
	s.remove(pod)
	n.empty()
}

// number is the number that a file says, 0 for none.
func (n *node) number(path string) int {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Fatal(err)
	}
	i, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return i
}

// lastLogged is the number of the last whole line of a log in the format of the CRI.
func lastLogged(path string) int {
	data, _ := os.ReadFile(path)
	lines := strings.Split(string(data), "\n")
	for _, l := range slices.Backward(lines[:len(lines)-1]) {
		if f := strings.SplitN(l, " ", 5); len(f) == 5 && f[2] == "F" {
			if i, err := strconv.Atoi(f[3]); err == nil {
				return i
			}
		}
	}
	return 0
}
