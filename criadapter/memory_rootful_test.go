//go:build rootful

package criadapter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// TestServerMemory: a server that has nothing to do takes little, right after its start
// and once it has rested from a call.
func TestServerMemory(t *testing.T) {
	davit := harness.TestDavit(t)
	server, err := harness.StartCRI(t.Context(), davit, filepath.Join(davit.Roots.Dir, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	}()
	resident := regexp.MustCompile(`VmRSS:\s+(\d+) kB`)
	rests := func(when string) {
		t.Helper()
		const most = 24 << 10
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.PID()))
			if err != nil {
				t.Fatal(err)
			}
			found := resident.FindSubmatch(data)
			if found == nil {
				t.Fatalf("no size in %s", data)
			}
			kB, err := strconv.Atoi(string(found[1]))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %d kB", when, kB)
			if kB <= most {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s the server takes %d kB, %d at most", when, kB, most)
			}
		}
	}
	rests("after its start")
	conn, err := grpc.NewClient("unix://"+server.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	big := &runtimeapi.RemovePodSandboxRequest{PodSandboxId: strings.Repeat("0", 8<<20)}
	if _, err := runtimeapi.NewRuntimeServiceClient(conn).RemovePodSandbox(t.Context(), big); err == nil {
		t.Error("a name of 8 MiB is taken")
	}
	rests("after a call")
}
