//go:build faults || faultslong

package model

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/pod"
)

// dump is what a worker sees.
type dump struct {
	// Lines are as the model's.
	Lines []string `json:"lines"`
	// Listed are what the command line's lists have.
	Listed []string `json:"listed,omitempty"`
	// Held are things that are held without a reason: nobody uses them.
	Held []string `json:"held,omitempty"`
	// Monitors are the pids of monitors by container name.
	Monitors map[string]int `json:"monitors,omitempty"`
	// Images are the IDs of images by their names.
	Images map[string]string `json:"images,omitempty"`
}

// dump lists everything, as ps, pod ps and images do.
func (w *worker) dump(ctx context.Context) (*dump, error) {
	e, err := w.env.Engine(ctx, cli.Images, cli.Networks, cli.Containers, cli.Pods)
	if err != nil {
		return nil, err
	}
	ctrs, err := e.Containers.List(ctx)
	pods, perr := e.Pods.List(ctx)
	images, ierr := e.Images.List(ctx, img.ListOptions{Brief: true})
	if err := errors.Join(err, perr, ierr); err != nil {
		return nil, err
	}
	d := &dump{Monitors: map[string]int{}, Images: map[string]string{}}
	d.images(images)
	podNames := map[string]string{}
	own := map[string]pod.Sandbox{}
	for _, p := range pods {
		if p.Config.Implicit {
			own[p.ID] = p
			continue
		}
		podNames[p.ID] = p.Config.Name
		d.Lines = append(d.Lines, podLine(p.Config.Name, string(p.Status.State)))
		if p.Op != nil {
			d.Held = append(d.Held, fmt.Sprintf("pod %s is under %s, stage %q", p.Config.Name, p.Op.Kind, p.Op.Stage))
		}
	}
	for _, k := range ctrs {
		d.container(k, podNames, own)
		delete(own, k.Config.Sandbox)
	}
	for id := range own {
		d.Held = append(d.Held, "the sandbox of a container that is gone: "+id)
	}
	slices.Sort(d.Lines)
	return d, nil
}

func (d *dump) container(k ctr.Container, pods map[string]string, own map[string]pod.Sandbox) {
	name, s := k.Config.Name, k.Status
	in := pods[k.Config.Sandbox]
	if p, ok := own[k.Config.Sandbox]; ok {
		if in = "its own, down"; p.Status.State == pod.Ready {
			in = "its own, up"
		}
	}
	code := s.ExitCode
	if !s.CodeKnown {
		code = unknown
	}
	image := k.Config.Image.ID
	for short, id := range d.Images {
		if id == image {
			image = short
		}
	}
	d.Lines = append(d.Lines, containerLine(name, in, image, string(s.State), code))
	if s.MonitorPid != 0 && s.Alive() {
		d.Monitors[name] = s.MonitorPid
	}
	if k.Op != nil {
		d.Held = append(d.Held, fmt.Sprintf("container %s is under %s, stage %q", name, k.Op.Kind, k.Op.Stage))
	}
	if s.Mounted != "" && !s.Alive() && !s.Prepared {
		d.Held = append(d.Held, fmt.Sprintf("container %s is %s and mounted at %s", name, s.State, s.Mounted))
	}
}

func (d *dump) images(images []img.Image) {
	prefix := os.Getenv(registryEnv) + "/"
	for _, i := range images {
		var names []string
		for _, n := range i.Names {
			names = append(names, strings.TrimSuffix(strings.TrimPrefix(n, prefix), ":latest"))
		}
		slices.Sort(names)
		short := os.Getenv("DAVIT_MODEL_" + i.ID[:12])
		d.Images[short] = i.ID
		d.Lines = append(d.Lines, imageLine(short, names))
	}
}

// addresses counts the addresses that are out, of version 4: each sandbox on a network
// has one.
func (r *rig) addresses() int {
	n := 0
	for _, dir := range []string{r.leases, filepath.Join(r.roots.RunRoot, "networks", "ipam", builtin)} {
		files, _ := filepath.Glob(filepath.Join(dir, "[0-9]*.*.*.*"))
		n += len(files)
	}
	return n
}
