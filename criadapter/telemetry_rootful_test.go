//go:build rootful

package criadapter_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTelemetry reads the metrics and the log of a server that has run a sandbox.
func TestTelemetry(t *testing.T) {
	dir, err := os.MkdirTemp("", "davit") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "m.sock")
	r := newRig(t, "[cri]\nslow_call = 1\nmetrics = \"unix://"+path+"\"\n")
	r.sandbox(t, r.podConfig("told"))

	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", st, err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://davit/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`davit_cri_calls_total{rpc="RunPodSandbox",code="OK"} 1`, `davit_sandboxes{owner="cri",state="ready"} 1`,
		`davit_image_pulls_total{result="pulled"} 1`, "process_resident_memory_bytes ",
	} {
		if !strings.Contains(string(page), "\n"+want) {
			t.Errorf("the metrics lack %s:\n%s", want, page)
		}
	}
	log, err := os.ReadFile(r.server.LogAt)
	if err != nil || !strings.Contains(string(log), "pod create ") {
		t.Errorf("the log has no stages, %v:\n%s", err, log)
	}
	if err := r.server.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is left")
	}
	r.start(t)
}
