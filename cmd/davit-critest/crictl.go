package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const walkImage = "registry.k8s.io/e2e-test-images/busybox:1.29-2"

// object is JSON.
type object map[string]any

func (w *walker) runtimeVerbs(ctx context.Context) error {
	w.crictl(ctx,
		step{args: words("version"), want: `RuntimeName: +davit\nRuntimeVersion: .*\nRuntimeApiVersion: +v1`},
		step{args: words("info"), want: `"status": +true,\s+"type": +"RuntimeReady".*"status": +true,\s+"type": +"NetworkReady"`},
		step{args: words("runtime-config"), want: `cgroup driver: +(CGROUPFS|SYSTEMD)`},
		step{args: words("update-runtime-config", "--pod-cidr", "10.93.0.0/16")},
		step{args: words("metricdescs"), want: `container_cpu_usage_seconds_total`},
		step{args: words("pods", "-q"), want: `^$`},
		step{args: words("ps", "-a", "-q"), want: `^$`},
	)
	return nil
}

func (w *walker) imageVerbs(ctx context.Context) error {
	absent := w.registry.Ref("none:of-this-name")
	w.crictl(ctx,
		step{args: words("pull", walkImage), want: `Image is up to date for [0-9a-z:]+$`},
		step{args: words("images"), want: `registry.k8s.io/e2e-test-images/busybox +1.29-2 +[0-9a-f]{13} +[0-9.]+MB`},
		step{args: words("inspecti", walkImage), want: `"repoTags": +\[\s+"` + walkImage + `"`},
		step{args: words("inspecti", absent), fails: true, errs: `no such image`},
		step{args: words("pull", absent), fails: true, errs: `code = NotFound`},
		step{args: words("imagefsinfo"), want: `"usedBytes": +\{\s+"value": +"[1-9][0-9]+"`},
	)
	return nil
}

// podVerbs makes a pod with a web server and walks through all that can be done
// with them.
func (w *walker) podVerbs(ctx context.Context) error {
	logs := filepath.Join(w.dir, "podlogs")
	pod, err1 := w.file("pod.json", object{
		"metadata":      object{"name": "walk", "namespace": "default", "uid": "walk-uid", "attempt": 1},
		"hostname":      "walk-host",
		"log_directory": logs, "labels": object{"app": "walk"}, "linux": object{},
	})
	web, err2 := w.container("web", "echo one; echo two; echo three >&2; exec httpd -f -p 80 -h /var/www")
	events, err3 := w.background(ctx, "events")
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	podID, err := w.id(ctx, "runp", pod)
	if err != nil {
		return err
	}
	w.crictl(ctx,
		step{args: words("runp", pod), want: `^` + podID + `$`}, // the same pod: the same ID
		step{args: words("pods"), want: podID[:13] + ` .* Ready +walk +default +1 +\(default\)`},
		step{args: words("pods", "-q", "--label", "app=walk", "--state", "ready"), want: `^` + podID + `$`},
		step{args: words("pods", "-q", "--label", "app=other"), want: `^$`},
		step{args: words("inspectp", podID), want: `"ip": +"10\.93\..*"state": +"SANDBOX_READY"`},
	)
	id, err := w.id(ctx, "create", podID, web, pod)
	if err != nil {
		return err
	}
	w.crictl(ctx,
		step{args: words("ps", "-a"), want: id[:13] + ` .* Created +web +1 +` + podID[:13] + ` +walk +default`},
		step{args: words("start", id), want: `^` + id + `$`},
		step{args: words("start", id), fails: true},
		step{args: words("ps", "-q", "--name", "^web$", "--state", "running"), want: `^` + id + `$`},
		step{args: words("inspect", id), want: `"image": +"` + walkImage + `".*"state": +"CONTAINER_RUNNING"`},
		step{args: words("logs", id), want: `^one\ntwo$`, errs: `^three$`},
	)
	w.execVerbs(ctx, id)
	if err := w.logVerbs(ctx, podID, pod); err != nil {
		return err
	}
	w.statVerbs(ctx, podID, id)
	w.expect("port-forward", w.forward(ctx, podID), `hello from busybox`)
	w.bothFaces(ctx, podID, id)
	w.crictl(ctx,
		step{args: words("stop", "--timeout", "0", id), want: `^` + id + `$`},
		step{args: words("stop", "--timeout", "0", id)}, // again is no error
		step{args: words("inspect", id), want: `"exitCode": +137.*"state": +"CONTAINER_EXITED"`},
		step{args: words("exec", "--sync", id, "true"), fails: true},
	)
	seen := events()
	for _, kind := range []string{"CREATED", "STARTED", "STOPPED"} {
		w.expect("events", seen, `"containerId": +"`+id+`",\s*"containerEventType": +"CONTAINER_`+kind+`_EVENT"`)
	}
	return nil
}

func (w *walker) execVerbs(ctx context.Context, id string) {
	w.crictl(ctx,
		step{args: words("exec", "--sync", id, "sh", "-c", "hostname; echo e >&2"), want: `^walk-host\s+e$`},
		step{args: words("exec", "--sync", id, "sh", "-c", "exit 7"), fails: true, errs: `7`},
		step{args: words("exec", "--sync", "--timeout", "1", id, "sleep", "20"), fails: true, errs: `(?i)deadline|timed? ?out`},
	)
	for _, transport := range []string{"spdy", "websocket"} {
		w.crictl(ctx,
			step{args: words("exec", "-r", transport, id, "hostname"), want: `^walk-host$`},
			step{args: words("exec", "-r", transport, id, "sh", "-c", "exit 7"), fails: true, errs: `7`},
			step{args: words("exec", "-i", "-r", transport, id, "sort"), stdin: "b\na\n", want: `^a\nb$`},
		)
	}
	w.crictl(ctx, step{args: words("exec", id, "no-such-program"), fails: true})
}

// logVerbs attaches to a container that answers what it is told and ends with
// its input, and reads its log.
func (w *walker) logVerbs(ctx context.Context, podID, pod string) error {
	config, err := w.container("echoes", `while read -r line; do echo "got $line"; done; echo end`)
	if err != nil {
		return err
	}
	id, err := w.id(ctx, "create", podID, config, pod)
	if err != nil {
		return err
	}
	w.crictl(ctx,
		step{args: words("start", id)},
		step{args: words("attach", "-i", id), stdin: "first\nsecond\n", want: `^got first\ngot second\nend$`},
		step{args: words("logs", "-f", id), want: `^got first\ngot second\nend$`},
		step{args: words("logs", "--tail", "1", id), want: `^end$`},
	)
	w.eventually(ctx, 5*time.Second, step{args: words("inspect", id), want: `"exitCode": +0.*"reason": +"Completed".*"state": +"CONTAINER_EXITED"`})
	w.crictl(ctx,
		step{args: words("logs", "--reopen", id), fails: true}, // it does not run
		step{args: words("rm", id), want: `^` + id + `$`},
		step{args: words("rm", id), fails: true}, // crictl looks it up first
		step{args: words("inspect", id), fails: true, errs: `NotFound|not found`},
	)
	return nil
}

func (w *walker) statVerbs(ctx context.Context, podID, id string) {
	w.crictl(ctx,
		step{args: words("stats"), want: id[:13] + ` +web +[0-9.]+ +[1-9][0-9.]*[kM]?B`},
		step{args: words("stats", "-o", "json", id), want: `"workingSetBytes": +\{\s+"value": +"[1-9]`},
		step{args: words("statsp"), want: `walk +` + podID[:13] + ` +[0-9.]+ +[1-9]`},
		step{args: words("metricsp"), want: `"name": +"container_memory_working_set_bytes"`},
		step{args: words("update", "--memory", "67108864", "--cpu-quota", "50000", "--cpu-period", "100000", id), want: id},
		step{args: words("inspect", id), want: `"cpuQuota": +"50000".*"memoryLimitInBytes": +"67108864"`},
		step{args: words("logs", "--reopen", id)},
	)
	// A checkpoint is made where criu works, and refused where not; the container
	// runs on in both cases.
	archive := filepath.Join(w.dir, "checkpoint.tar")
	_, _ = w.command(ctx, "checkpoint", "--export", archive, id).CombinedOutput()
	w.crictl(ctx, step{args: words("inspect", id), want: `"state": +"CONTAINER_RUNNING"`})
	_ = os.Remove(archive)
}

// forward asks the pod's web server through a forwarded port.
func (w *walker) forward(ctx context.Context, podID string) string {
	stop, err := w.background(ctx, "port-forward", podID, "12004:80")
	if err != nil {
		return err.Error()
	}
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:12004/", nil)
		if err != nil {
			return err.Error()
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			defer resp.Body.Close()
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
			return string(body)
		}
		select {
		case <-ctx.Done():
			return fmt.Sprintf("no answer: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// container writes the request of a container that runs a shell script.
func (w *walker) container(name, script string) (string, error) {
	return w.file(name+".json", object{
		"metadata": object{"name": name, "attempt": 1},
		"image":    object{"image": walkImage},
		"command":  words("sh", "-c", script),
		"log_path": name + "/0.log",
		"stdin":    true, "stdin_once": true,
		// crictl ps takes the pod's name and namespace from these.
		"labels": object{"of": "walk", "io.kubernetes.pod.name": "walk", "io.kubernetes.pod.namespace": "default"},
		"linux":  object{"resources": object{"memory_limit_in_bytes": 128 << 20}},
	})
}
