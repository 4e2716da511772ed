package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
	"github.com/davit-containers/davit/commands/harness"
)

// puller is somebody who pulls images, and can forget them.
type puller struct {
	name   string
	pull   func(ctx context.Context, ref string) *exec.Cmd
	forget func(ctx context.Context, ref string) *exec.Cmd
}

// pullers are the engines, and skopeo into a store of containers/storage.
func (l *lab) pullers() []puller {
	var out []puller
	for _, e := range l.engines {
		out = append(out, puller{
			name:   e.name(),
			pull:   func(ctx context.Context, ref string) *exec.Cmd { return e.cli(ctx, "", "pull", "-q", ref) },
			forget: func(ctx context.Context, ref string) *exec.Cmd { return e.cli(ctx, "", "rmi", "-f", ref) },
		})
	}
	if _, err := exec.LookPath("skopeo"); err != nil {
		l.report.leaveOut("skopeo", errors.New("not installed (make bench-deps installs it)"))
		return out
	}
	store := fmt.Sprintf("containers-storage:[overlay@%s+%s]", filepath.Join(l.dir, "skopeo"), filepath.Join(l.dir, "skopeo-run"))
	return append(out, puller{
		name: "skopeo copy",
		pull: func(ctx context.Context, ref string) *exec.Cmd {
			return exec.CommandContext(ctx, "skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "docker://"+ref, store+ref)
		},
		forget: func(ctx context.Context, ref string) *exec.Cmd {
			return exec.CommandContext(ctx, "skopeo", "--insecure-policy", "delete", store+ref)
		},
	})
}

// pulls measures pulls from a registry on this machine: one large image, and
// ten smaller ones at once.
func pulls(ctx context.Context, l *lab) error {
	large := map[string]string{"20 layers of 5 MB, gzip": "large-gzip:1", "20 layers of 5 MB, zstd": "large-zstd:1"}
	for _, name := range []string{"20 layers of 5 MB, gzip", "20 layers of 5 MB, zstd"} {
		ref := large[name]
		if err := l.push(ctx, ref, harness.LayersConfig{Layers: 20, Files: 50, FileBytes: 100_000, Zstd: ref == "large-zstd:1"}); err != nil {
			return err
		}
		if err := l.pullCase(ctx, name, []string{l.registry.Ref(ref)}); err != nil {
			return err
		}
	}
	var refs []string
	for i := range 10 {
		ref := fmt.Sprintf("small%d:1", i)
		if err := l.push(ctx, ref, harness.LayersConfig{Layers: 4, Files: 50, FileBytes: 20_000, Seed: uint64(i + 1)}); err != nil {
			return err
		}
		refs = append(refs, l.registry.Ref(ref))
	}
	return l.pullCase(ctx, "10 images of 4 layers of 1 MB at once, gzip", refs)
}

func (l *lab) push(ctx context.Context, name string, c harness.LayersConfig) error {
	img, err := harness.Layered(c)
	if err != nil {
		return err
	}
	return l.registry.Push(ctx, name, img)
}

// pullCase measures pulls of all refs at once by each puller, which has none of
// their layers.
func (l *lab) pullCase(ctx context.Context, name string, refs []string) error {
	c := rounds.Case{Name: name, Rounds: max(3, l.rounds/3), Warm: 1}
	for _, p := range l.pullers() {
		c.Subjects = append(c.Subjects, rounds.Subject{Name: p.name, Sample: func(ctx context.Context) ([]float64, error) {
			took, err := rounds.Timed(func(ctx context.Context) error {
				g, ctx := errgroup.WithContext(ctx)
				for _, ref := range refs {
					g.Go(func() error { return succeed(p.pull(ctx, ref)) })
				}
				return g.Wait()
			})(ctx)
			for _, ref := range refs {
				err = errors.Join(err, succeed(p.forget(ctx, ref)))
			}
			return took, err
		}})
	}
	return l.measure(ctx, c)
}
