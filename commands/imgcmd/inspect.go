package imgcmd

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// Inspection is an image as inspect prints it, in the field's names.
type Inspection struct {
	ID           string            `json:"Id"`
	Digest       string            `json:"Digest"`
	RepoTags     []string          `json:"RepoTags"`
	RepoDigests  []string          `json:"RepoDigests"`
	Parent       string            `json:"Parent"`
	Comment      string            `json:"Comment"`
	Created      string            `json:"Created"`
	Config       inspectConfig     `json:"Config"`
	Author       string            `json:"Author"`
	Architecture string            `json:"Architecture"`
	Variant      string            `json:"Variant,omitempty"`
	Os           string            `json:"Os"`
	Size         int64             `json:"Size"`
	GraphDriver  inspectDriver     `json:"GraphDriver"`
	RootFS       inspectRootFS     `json:"RootFS"`
	Labels       map[string]string `json:"Labels"`
	Annotations  map[string]string `json:"Annotations"`
	ManifestType string            `json:"ManifestType"`
	User         string            `json:"User"`
	History      []inspectHistory  `json:"History"`
	NamesHistory []string          `json:"NamesHistory"`
	ReadOnly     bool              `json:"ReadOnly"`
}

type inspectConfig struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	Shell        []string            `json:"Shell,omitempty"`
	Healthcheck  *inspectHealth      `json:"Healthcheck,omitempty"`
}

type inspectHealth struct {
	Test        []string
	Interval    time.Duration `json:",omitempty"`
	Timeout     time.Duration `json:",omitempty"`
	StartPeriod time.Duration `json:",omitempty"`
	Retries     int           `json:",omitempty"`
}

type inspectDriver struct {
	Name string            `json:"Name"`
	Data map[string]string `json:"Data"`
}

type inspectRootFS struct {
	Type   string   `json:"Type"`
	Layers []string `json:"Layers"`
}

type inspectHistory struct {
	Created    string `json:"created"`
	CreatedBy  string `json:"created_by"`
	Comment    string `json:"comment,omitempty"`
	EmptyLayer bool   `json:"empty_layer,omitempty"`
}

func newInspect(env *cli.Env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect IMAGE...",
		Short: "Show all that is known of images",
		Long: "Show all that is known of images, as JSON or by a Go template. An image that is absent\n" +
			"does not keep the others from being shown.",
		Example: "  davit image inspect docker.io/library/alpine\n  davit image inspect --format '{{.Config.Cmd}}' docker.io/library/alpine",
		Args:    cli.Args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := (cli.Output[Inspection]{Format: format}).Check(); format != "" && err != nil {
				return err
			}
			e, err := env.Engine(cmd.Context(), cli.Images)
			if err != nil {
				return err
			}
			var found []Inspection
			failed := env.Each(args, cli.Code, func(ref string) error {
				d, err := e.Images.Inspect(cmd.Context(), ref)
				if err == nil {
					found = append(found, inspection(d))
				}
				return absent(cmd.Context(), e.Images, ref, err)
			})
			return errors.Join(cli.PrintObjects(env.Out, format, found), failed)
		},
		ValidArgsFunction: imageNames(env),
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`FORMAT`: json, or a Go template")
	return cmd
}

// inspection puts an image's details into the field's names.
func inspection(d img.Details) Inspection {
	c := d.Config
	out := Inspection{
		ID: d.ID, Digest: d.Digest, RepoTags: orEmpty(d.RepoTags()), RepoDigests: orEmpty(d.RepoDigests()),
		Parent: d.Parent, Comment: d.Comment, Created: cli.Time(d.Created), Author: d.Author,
		Architecture: d.Architecture, Variant: d.Variant, Os: d.OS, Size: d.Size,
		GraphDriver: inspectDriver{Name: d.Driver, Data: orEmptyMap(d.DriverData)},
		RootFS:      inspectRootFS{Type: "layers", Layers: orEmpty(d.DiffIDs)},
		Labels:      orEmptyMap(c.Labels), Annotations: orEmptyMap(d.Annotations), ManifestType: d.ManifestType,
		User: c.User, NamesHistory: orEmpty(d.NamesHistory), ReadOnly: d.ReadOnly,
		History: []inspectHistory{},
		Config: inspectConfig{
			User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, WorkingDir: c.WorkingDir,
			Labels: c.Labels, StopSignal: c.StopSignal, Shell: c.Shell,
			ExposedPorts: set(c.ExposedPorts), Volumes: set(c.Volumes),
		},
	}
	if h := c.Healthcheck; h != nil {
		out.Config.Healthcheck = &inspectHealth{
			Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries,
		}
	}
	for i := len(d.History) - 1; i >= 0; i-- { // the oldest step first, as in the config
		h := d.History[i]
		out.History = append(out.History, inspectHistory{
			Created: cli.Time(h.Created), CreatedBy: h.CreatedBy, Comment: h.Comment, EmptyLayer: h.Empty,
		})
	}
	return out
}

func set(list []string) map[string]struct{} {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]struct{}, len(list))
	for _, s := range list {
		m[s] = struct{}{}
	}
	return m
}
