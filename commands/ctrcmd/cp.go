package ctrcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/archive"
)

// copyOptions are the flags of cp.
type copyOptions struct {
	Archive   bool
	Overwrite bool
}

func newCopy(env *cli.Env) *cobra.Command {
	o := &copyOptions{}
	cmd := &cobra.Command{
		Use:   "cp [flags] [CONTAINER:]SOURCE [CONTAINER:]TARGET",
		Short: "Copy files between a container and the host",
		Long: "Copy a file or a folder out of a container, into one, or from one to another, whether they run or\n" +
			"not. A folder whose name ends in /. gives what is in it. With - in place of a path a tar stream\n" +
			"is read from standard input or written to standard output.",
		Example: "  davit cp web:/etc/nginx/nginx.conf .\n" +
			"  davit cp ./site/. web:/usr/share/nginx/html\n" +
			"  davit cp web:/var/log - | tar tv",
		Args:              cli.Args(2, 2),
		ValidArgsFunction: completeCopy(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, to := parsePlace(args[0]), parsePlace(args[1])
			if err := checkCopy(env, from, to); err != nil {
				return err
			}
			return o.run(cmd.Context(), env, from, to)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Archive, "archive", "a", true, "what is copied into a container belongs to the user that it runs as; false keeps the owners")
	fs.BoolVar(&o.Overwrite, "overwrite", false, "let a folder take the place of a file, and the other way round")
	return cmd
}

// placeOf is where to copy from or to: a path of the host, or of a container.
type placeOf struct {
	container string
	path      string
}

// stream tells whether a place is standard input or output.
func (p placeOf) stream() bool { return p.container == "" && p.path == "-" }

// parsePlace splits CONTAINER:PATH. What has a slash before its first colon, or
// begins with a dot, is a path of the host.
func parsePlace(s string) placeOf {
	name, rest, ok := strings.Cut(s, ":")
	if !ok || name == "" || strings.ContainsRune(name, '/') || strings.HasPrefix(name, ".") {
		return placeOf{path: s}
	}
	return placeOf{container: name, path: rest}
}

func checkCopy(env *cli.Env, from, to placeOf) error {
	switch {
	case from.container == "" && to.container == "":
		return cli.Usagef("neither path is a container's").Hintf("CONTAINER:PATH is a path in a container")
	case from.path == "" || to.path == "":
		return cli.Usagef("a path is missing").Hintf("CONTAINER:PATH, such as web:/etc/hosts")
	case to.stream() && env.OutIsTerminal():
		return cli.Usagef("a tar stream is not for a terminal").Hintf("redirect it: davit cp %s:%s - > file.tar", from.container, from.path)
	}
	return nil
}

func (o *copyOptions) run(ctx context.Context, env *cli.Env, from, to placeOf) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods, cli.Images)
	if err != nil {
		return err
	}
	source, err := o.open(ctx, e, from)
	if err != nil {
		return err
	}
	target, err := o.open(ctx, e, to)
	if err != nil {
		return err
	}
	switch {
	case to.stream():
		return cli.Cause(ctx, source.pack(ctx, env.Out, archive.PackOptions{}))
	case from.stream():
		return cli.Cause(ctx, target.unpack(ctx, env.In, archive.UnpackOptions{KeepOwner: !o.Archive, Overwrite: o.Overwrite}))
	}
	into, as, err := destination(source, target, o.Overwrite)
	if err != nil {
		return err
	}
	target.path = into
	return cli.Cause(ctx, transfer(ctx, source, target, transferOptions{
		pack:   archive.PackOptions{As: as},
		unpack: archive.UnpackOptions{KeepOwner: !o.Archive && to.container != "", Overwrite: o.Overwrite},
	}))
}

// end is one end of a copy: the host's file system or a container's.
type end struct {
	engine *cli.Engine
	ctr    *ctr.Container
	path   string
	// typed is what the user wrote.
	typed string
	info  archive.Info
	found bool
}

// open looks at one end.
func (o *copyOptions) open(ctx context.Context, e *cli.Engine, p placeOf) (end, error) {
	out := end{engine: e, path: p.path, typed: p.path}
	if p.stream() {
		return out, nil
	}
	if p.container != "" {
		c, err := find(ctx, e, p.container)
		if err != nil {
			return out, err
		}
		out.ctr, out.typed = &c, p.container+":"+p.path
		if !path.IsAbs(p.path) {
			out.path = path.Join("/", c.Config.Process.WorkingDir, p.path) + trailing(p.path)
		}
	} else {
		abs, err := filepath.Abs(p.path)
		if err != nil {
			return out, fmt.Errorf("finding %q: %w", p.path, err)
		}
		out.path = abs + trailing(p.path)
	}
	info, err := out.stat(ctx)
	if err != nil && !errdefs.IsNotFound(err) {
		return out, err
	}
	out.info, out.found = info, err == nil
	return out, nil
}

// trailing is the end of a path that Clean would take away but says something.
func trailing(p string) string {
	switch {
	case strings.HasSuffix(p, "/.") || p == ".":
		return "/."
	case strings.HasSuffix(p, "/"):
		return "/"
	}
	return ""
}

func (n end) stat(ctx context.Context) (archive.Info, error) {
	if n.ctr != nil {
		return n.engine.Containers.StatPath(ctx, n.ctr.ID, n.path)
	}
	var info archive.Info
	err := onHost("/", func(r *archive.Root) (err error) {
		info, err = r.Stat(n.path)
		return err
	})
	return info, err
}

func (n end) pack(ctx context.Context, w io.Writer, o archive.PackOptions) error {
	if !n.found {
		return say(errdefs.ErrNotFound, "%q: no such file or folder", n.typed)
	}
	if n.ctr != nil {
		return n.engine.Containers.CopyFrom(ctx, n.ctr.ID, n.path, w, o)
	}
	return onHost("/", func(r *archive.Root) error { return r.Pack(ctx, n.path, w, o) })
}

func (n end) unpack(ctx context.Context, in io.Reader, o archive.UnpackOptions) error {
	if n.ctr != nil {
		return n.engine.Containers.CopyTo(ctx, n.ctr.ID, n.path, in, o)
	}
	// The folder is the root: no link in a container's stream leads out of it. Nor
	// does a program become root's by being copied.
	o.UID, o.GID, o.NoSetID = os.Getuid(), os.Getgid(), true
	return onHost(n.path, func(r *archive.Root) error { return r.Unpack(ctx, "/", in, o) })
}

// onHost works on the files of the host as on those of a container; what f sees as
// its root is a folder of the host.
func onHost(dir string, f func(*archive.Root) error) (err error) {
	root, err := archive.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return f(root)
}

// destination says into which folder to unpack and what the topmost entry is
// called there, as cp(1) does: a folder that is there is copied into, any other
// target is the new name. Only one who overwrites copies a folder onto a file.
func destination(source, target end, overwrite bool) (folder, name string, err error) {
	contents := strings.HasSuffix(source.path, "/.")
	clean := path.Clean(target.path)
	switch {
	case !source.found:
		return "", "", say(errdefs.ErrNotFound, "%q: no such file or folder", source.typed)
	case target.found && target.info.Mode.IsDir() && contents:
		return target.path, ".", nil
	case target.found && target.info.Mode.IsDir():
		return target.path, path.Base(path.Clean(source.path)), nil
	case target.found && source.info.Mode.IsDir() && !overwrite:
		return "", "", say(errdefs.ErrInvalidArgument, "%q is a file: a folder cannot be copied onto it", target.typed)
	case target.found:
		// The file itself, where a link leads to it.
		return path.Dir(target.info.Path), path.Base(target.info.Path), nil
	case strings.HasSuffix(target.path, "/") && source.info.Mode&fs.ModeDir == 0:
		return "", "", say(errdefs.ErrNotFound, "%q: no such folder", target.typed)
	}
	return path.Dir(clean), path.Base(clean), nil
}

// transferOptions are both halves of a transfer.
type transferOptions struct {
	pack   archive.PackOptions
	unpack archive.UnpackOptions
}

// transfer pipes a tar stream from one end to the other.
func transfer(ctx context.Context, source, target end, o transferOptions) error {
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := source.pack(ctx, w, o.pack)
		_ = w.CloseWithError(err) // never fails
		packed <- err
	}()
	err := target.unpack(ctx, r, o.unpack)
	_ = r.CloseWithError(errClosed) // never fails
	perr := <-packed
	switch {
	case errors.Is(perr, errClosed):
		return err
	case perr != nil:
		return perr
	}
	return err
}

var errClosed = errors.New("the other end of the copy has ended")

// completeCopy completes CONTAINER: and leaves paths of the host to the shell.
func completeCopy(env *cli.Env) cobra.CompletionFunc {
	list := names(env)
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 1 || strings.ContainsAny(toComplete, ":/.") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		found, _ := list(cmd, nil, toComplete)
		for i := range found {
			found[i] += ":"
		}
		return found, cobra.ShellCompDirectiveNoSpace
	}
}
