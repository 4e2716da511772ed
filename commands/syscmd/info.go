package syscmd

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/cli"
)

// infoReport is what info prints.
type infoReport struct {
	Host     hostInfo
	Davit    davitInfo
	Store    storeInfo
	Runtimes []runtimeInfo
	Network  networkInfo
}

type hostInfo struct {
	Hostname      string
	Kernel        string
	OS            string
	Arch          string
	CPUs          int
	MemTotal      int64
	CgroupVersion int
}

type davitInfo struct {
	Version       string
	ConfigFiles   []string
	Root          string
	RunRoot       string
	CgroupManager string
	Monitor       string
}

type storeInfo struct {
	Driver string
	Root   string
	Images int
}

type runtimeInfo struct {
	Name    string
	Path    string
	Default bool
}

type networkInfo struct {
	Default    string
	CNIDir     string
	PluginDirs []string
}

func newInfo(env *cli.Env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Show the host, the runtimes and the stores",
		Long: "Show what davit sees of the host, the OCI runtimes, the image store and the networks:\n" +
			"the first thing to look at, and to send with a report.",
		Example: "  davit info\n  davit info --format '{{.Store.Driver}}'",
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := report(cmd.Context(), env)
			if err != nil {
				return err
			}
			switch format {
			case "":
				return r.write(env.Out)
			case "json":
				return cli.WriteJSON(env.Out, r)
			}
			return cli.PrintObjects(env.Out, format, []infoReport{r})
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`FORMAT`: json, or a Go template")
	return cmd
}

func report(ctx context.Context, env *cli.Env) (infoReport, error) {
	e, err := env.Engine(ctx, cli.Images)
	if err != nil {
		return infoReport{}, err
	}
	c, err := env.Config()
	if err != nil {
		return infoReport{}, err
	}
	store, err := e.Images.Usage(ctx)
	if err != nil {
		return infoReport{}, err
	}
	monitor, _ := exec.LookPath(c.Engine.Conmon)
	return infoReport{
		Host: hostOf("/"),
		Davit: davitInfo{
			Version: env.Version, ConfigFiles: env.ConfigFiles(), Root: c.Root, RunRoot: c.RunRoot,
			CgroupManager: c.Engine.CgroupManager, Monitor: monitor,
		},
		Store:    storeInfo{Driver: store.Driver, Root: store.Root, Images: len(store.Images)},
		Runtimes: runtimes(c, exec.LookPath),
		Network:  networkInfo{Default: c.Network.Default, CNIDir: c.Network.CNIDir, PluginDirs: c.Network.PluginDirs},
	}, nil
}

// hostOf reads the host's facts; what cannot be read stays empty.
func hostOf(root string) hostInfo {
	h := hostInfo{Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), OS: osName(root + "etc/os-release")}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		h.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	h.Hostname, _ = os.Hostname()
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		h.MemTotal = int64(info.Totalram) * int64(info.Unit)
	}
	var fs unix.Statfs_t
	if unix.Statfs(root+"sys/fs/cgroup", &fs) == nil {
		h.CgroupVersion = 1
		if fs.Type == unix.CGROUP2_SUPER_MAGIC {
			h.CgroupVersion = 2
		}
	}
	return h
}

// osName is the distribution's name for people, from os-release.
func osName(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(data) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "PRETTY_NAME="); ok {
			if plain, err := strconv.Unquote(name); err == nil {
				return plain
			}
			return name
		}
	}
	return ""
}

// runtimes are the configured OCI runtimes, and those that are installed.
func runtimes(c *cli.Config, lookPath func(string) (string, error)) []runtimeInfo {
	names := c.RuntimeNames()
	for _, name := range []string{c.Engine.Runtime, "runc", "crun"} {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var out []runtimeInfo
	for _, name := range names {
		path := c.Runtimes[name].Path
		if path == "" {
			path, _ = lookPath(name)
		}
		if path == "" && name != c.Engine.Runtime {
			continue
		}
		out = append(out, runtimeInfo{Name: name, Path: path, Default: name == c.Engine.Runtime})
	}
	return out
}
