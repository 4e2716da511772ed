package show

import (
	"fmt"
	"strings"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/pod"
)

// PodRow is one pod in a list.
type PodRow struct {
	ID     string
	Name   string
	Status string

	CreatedAt string
	Created   string `json:"-"`

	InfraID string
	// NumberOfContainers counts the infra container, too, as podman does.
	NumberOfContainers int
	Containers         []Member
	// ContainerNames and ContainerStatuses are for templates.
	ContainerNames    string `json:"-"`
	ContainerStatuses string `json:"-"`

	Ports        string        `json:"-"`
	PortMappings []PortMapping `json:"Ports"`
	Networks     Words
	Labels       Labels
	Cgroup       string `json:",omitempty"`
	Implicit     bool
	Owner        string
	Mark         string `json:"-"`
}

// Member is a container of a pod.
type Member struct {
	ID    string
	Name  string
	State string
}

// PodRow is the row of a pod; full leaves IDs whole.
func (w World) PodRow(s pod.Sandbox, full bool) PodRow {
	members := w.Members(s)
	r := PodRow{
		ID: cli.ShortID(s.ID, full), Name: s.Config.Name, Status: PodStatus(s, members),
		CreatedAt: cli.Time(s.Created), Created: cli.Ago(s.Created, w.Now),
		InfraID: cli.ShortID(s.Status.Infra, full), NumberOfContainers: len(members),
		Containers: []Member{}, PortMappings: []PortMapping{},
		Networks: Networks(s), Labels: s.Config.Labels, Cgroup: s.Status.Cgroup,
		Implicit: s.Config.Implicit, Owner: string(s.Config.Owner), Mark: Mark(s.Config.Owner),
	}
	var names, states, ports []string
	for _, c := range members {
		r.Containers = append(r.Containers, Member{ID: cli.ShortID(c.ID, full), Name: c.Config.Name, State: State(c.Status)})
		names, states = append(names, c.Config.Name), append(states, State(c.Status))
	}
	for _, p := range Ports(s) {
		ports = append(ports, p.String())
		r.PortMappings = append(r.PortMappings, Mapping(p))
	}
	r.ContainerNames, r.ContainerStatuses = strings.Join(names, ","), strings.Join(states, ",")
	r.Ports = strings.Join(ports, ", ")
	return r
}

// PodTable is the template of pod ps, with further columns where asked for.
func PodTable(names, states bool) string {
	t := "{{.ID}}\t{{.Name}}{{.Mark}}\t{{.Status}}\t{{.Created}}\t{{.InfraID}}"
	if names {
		t += "\t{{.ContainerNames}}"
	}
	if states {
		t += "\t{{.ContainerStatuses}}"
	}
	return t + "\t{{.NumberOfContainers}}"
}

// PodHeadings are the headings of PodRow's fields.
func PodHeadings() map[string]string {
	return map[string]string{
		"ID": "POD ID", "InfraID": "INFRA ID", "NumberOfContainers": "# OF CONTAINERS",
		"ContainerNames": "NAMES", "ContainerStatuses": "CTR STATUS", "Mark": "",
	}
}

// String names a member with its state.
func (m Member) String() string { return fmt.Sprintf("%s(%s)", m.Name, m.State) }
