package show

import (
	"slices"
	"strings"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
)

// Row is one container in a list.
type Row struct {
	ID      string
	Names   Words
	Image   string
	ImageID string
	// Command is cut to a column's width; JSON has all its words.
	Command string `json:"-"`
	Args    Words  `json:"Command"`

	State, Status string
	ExitCode      int
	Exited        bool
	Pid           int

	CreatedAt string
	StartedAt string `json:",omitempty"`
	ExitedAt  string `json:",omitempty"`
	// Created and RunningFor are how long ago that was, in words.
	Created    string `json:"-"`
	RunningFor string `json:"-"`

	// Ports is for people; PortMappings are the same for programs.
	Ports        string        `json:"-"`
	PortMappings []PortMapping `json:"Ports"`
	Networks     Words
	Mounts       Words
	Labels       Labels
	Pod, PodName string
	// Owner is cli or cri; Mark is empty or tells of the kubelet.
	Owner   string
	Mark    string `json:"-"`
	IsInfra bool
}

// PortMapping is a published port.
type PortMapping struct {
	HostIP        string `json:"host_ip"`
	HostPort      uint16 `json:"host_port"`
	ContainerPort uint16 `json:"container_port"`
	Protocol      string `json:"protocol"`
}

// Row is the row of a container; full leaves IDs and commands whole.
func (w World) Row(c ctr.Container, full bool) Row {
	cfg, s, sandbox := c.Config, c.Status, w.Pod(c)
	r := Row{
		ID:      cli.ShortID(c.ID, full),
		Names:   Words{cfg.Name},
		Image:   ImageName(cfg.Image),
		ImageID: cli.ShortID(cfg.Image.ID, full),
		Command: command(cfg.Process.Args, full),
		Args:    Words(cfg.Process.Args),

		State: State(s), Status: Status(s, w.Now),
		ExitCode: s.ExitCode, Exited: s.State == ctr.Stopped, Pid: s.Pid,

		CreatedAt:  cli.Time(c.Created),
		StartedAt:  cli.Time(s.StartedAt),
		ExitedAt:   cli.Time(s.FinishedAt),
		Created:    cli.Ago(c.Created, w.Now),
		RunningFor: cli.Ago(c.Created, w.Now),

		Networks: Networks(sandbox),
		Mounts:   mountPoints(cfg.Mounts),
		Labels:   cfg.Labels,
		Owner:    string(cfg.Owner), Mark: Mark(cfg.Owner),
		IsInfra: cfg.Infra,
	}
	if !cfg.Implicit {
		r.Pod, r.PodName = cli.ShortID(cfg.Sandbox, full), sandbox.Config.Name
	}
	ports := Ports(sandbox)
	texts := make([]string, 0, len(ports))
	r.PortMappings = []PortMapping{}
	for _, p := range ports {
		texts = append(texts, p.String())
		r.PortMappings = append(r.PortMappings, Mapping(p))
	}
	r.Ports = strings.Join(texts, ", ")
	return r
}

// Mapping is a published port for programs.
func Mapping(p netw.Port) PortMapping {
	m := PortMapping{HostPort: p.HostPort, ContainerPort: p.ContainerPort, Protocol: p.Protocol}
	if p.HostIP.IsValid() {
		m.HostIP = p.HostIP.String()
	}
	return m
}

// ImageName is an image as one would name it: its full name, else what was
// typed, else its ID.
func ImageName(i ctr.Image) string {
	switch {
	case i.Name != "":
		return i.Name
	case i.Ref != "" && !strings.HasPrefix(i.ID, i.Ref):
		return i.Ref
	}
	return cli.ShortID(i.ID, false)
}

// commandWidth is what a list shows of a command.
const commandWidth = 20

func command(args []string, full bool) string {
	text := strings.Join(args, " ")
	runes := []rune(text)
	if full || len(runes) <= commandWidth {
		return text
	}
	return string(runes[:commandWidth-3]) + "..."
}

// mountPoints are the places where something of the user's is mounted.
func mountPoints(mounts []spec.Mount) Words {
	out := Words{}
	for _, m := range mounts {
		out = append(out, m.Destination)
	}
	slices.Sort(out)
	return out
}

// Table is the template of ps.
const Table = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Created}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}{{.Mark}}"

// Headings are the headings of Row's fields.
func Headings() map[string]string {
	return map[string]string{"ID": "CONTAINER ID", "ImageID": "IMAGE ID", "Mark": "", "Pod": "POD ID", "PodName": "PODNAME", "IsInfra": "INFRA"}
}
