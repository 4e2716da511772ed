package main

import (
	"context"
	"errors"
	"time"
)

// bothFaces looks at the kubelet's containers from the command line, while the
// server runs.
func (w *walker) bothFaces(ctx context.Context, podID, id string) {
	w.davit(ctx,
		step{args: words("ps", "--no-trunc", "-q"), want: id},
		step{args: words("ps"), want: `k8s_web_walk_default`},
		step{args: words("pod", "ps", "--no-trunc", "-q"), want: podID},
		step{args: words("logs", id), want: `^one\ntwo`},
		step{args: words("exec", id, "hostname"), want: `^walk-host$`},
		step{args: words("inspect", "--format", "{{.State.Status}}", id), want: `^running$`},
		step{args: words("stats", "--no-stream", id), want: id[:12]},
		step{args: words("stop", "-t", "0", id), fails: true, errs: `(?i)kubelet.*--force`},
		step{args: words("rm", id), fails: true, errs: `(?i)kubelet|running`},
	)
}

// handMadePods makes sure that what is made by hand is none of the kubelet's
// business, and that the kubelet sees at once what is done by hand to its own.
func (w *walker) handMadePods(ctx context.Context) error {
	w.davit(ctx,
		step{args: words("pod", "create", "--name", "byhand")},
		step{args: words("run", "-d", "--pod", "byhand", "--name", "mine", walkImage, "sleep", "1000")},
	)
	w.crictl(ctx,
		step{args: words("pods", "--name", "byhand", "-q"), want: `^$`},
		step{args: words("ps", "-a", "--name", "mine", "-q"), want: `^$`},
	)
	w.davit(ctx, step{args: words("pod", "rm", "-f", "-t", "0", "byhand")})
	pod, err1 := w.file("pod2.json", object{"metadata": object{"name": "second", "namespace": "default", "uid": "second-uid"}, "linux": object{}})
	config, err2 := w.container("sleeps", "exec sleep 1000")
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	podID, err := w.id(ctx, "runp", pod)
	if err != nil {
		return err
	}
	id, err := w.id(ctx, "create", podID, config, pod)
	if err != nil {
		return err
	}
	w.crictl(ctx, step{args: words("start", id)})
	w.davit(ctx, step{args: words("stop", "--force", "-t", "0", id)})
	w.eventually(ctx, time.Second, step{args: words("inspect", id), want: `"state": +"CONTAINER_EXITED"`})
	w.davit(ctx, step{args: words("rm", "--force", id)})
	w.eventually(ctx, time.Second, step{args: words("ps", "-a", "-q", "--pod", podID), want: `^$`})
	w.davit(ctx, step{args: words("pod", "rm", "--force", podID)})
	w.eventually(ctx, time.Second, step{args: words("pods", "-q", "--id", podID), want: `^$`})
	return nil
}

// lastVerbs takes everything away.
func (w *walker) lastVerbs(ctx context.Context) error {
	podID := w.run(ctx, w.command(ctx, "pods", "-q"), step{args: words("pods", "-q"), want: `^[0-9a-f]{64}$`})
	w.crictl(ctx,
		step{args: words("rmi", walkImage), fails: true, errs: `use`},
		step{args: words("rmp", podID), fails: true}, // crictl asks for a stop first
		step{args: words("stopp", podID), want: `Stopped sandbox ` + podID},
		step{args: words("pods", "--state", "notready", "-q"), want: `^` + podID + `$`},
		step{args: words("rmp", podID), want: `Removed sandbox ` + podID},
		step{args: words("pods", "-q"), want: `^$`},
		step{args: words("ps", "-a", "-q"), want: `^$`},
		step{args: words("rmi", walkImage), want: `Deleted: ` + walkImage},
		step{args: words("inspecti", walkImage), fails: true, errs: `no such image`},
	)
	return nil
}
