package criadapter

import (
	"cmp"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// family is one metric by name: cAdvisor's, so that what is built on those goes
// on working. Values are whole: those in seconds lose what is below one, as the
// API has no fractions.
type family struct {
	name, help string
	gauge      bool
	// keys are the labels beyond those that all have.
	keys []string
	// container or pod tells the points of one, whichever the family is about.
	container func(ctr.Usage) []point
	pod       func(pod.Usage) []point
}

// point is one value of a family, with the values of its further labels.
type point struct {
	labels []string
	value  uint64
}

// labelKeys are the labels of all families: id is the cgroup, name the ID.
func labelKeys() []string { return []string{"id", "name", "image", "namespace", "pod", "container"} }

// podContainer stands for the container where a metric is about its sandbox.
const podContainer = "POD"

func podLabels(s pod.Sandbox) []string {
	return []string{s.Status.Cgroup, s.ID, "", s.Config.Kube.Namespace, s.Config.Kube.Name, podContainer}
}

func containerLabels(s pod.Sandbox, k ctr.Container) []string {
	image := cmp.Or(k.Config.Image.Name, k.Config.Image.Ref, k.Config.Image.ID)
	return []string{k.Status.Cgroup, k.ID, image, s.Config.Kube.Namespace, s.Config.Kube.Name, k.Config.Kube.Name}
}

func descriptors(families []family) []*runtimeapi.MetricDescriptor {
	out := make([]*runtimeapi.MetricDescriptor, 0, len(families))
	for _, f := range families {
		out = append(out, &runtimeapi.MetricDescriptor{Name: f.name, Help: f.help, LabelKeys: append(labelKeys(), f.keys...)})
	}
	return out
}

func podMetrics(families []family, u pod.Usage) *runtimeapi.PodSandboxMetrics {
	out := &runtimeapi.PodSandboxMetrics{PodSandboxId: u.Sandbox.ID}
	labels := podLabels(u.Sandbox)
	for _, f := range families {
		if f.pod != nil {
			out.Metrics = append(out.Metrics, f.metrics(labels, f.pod(u))...)
		}
	}
	for _, k := range u.Containers {
		one := &runtimeapi.ContainerMetrics{ContainerId: k.Container.ID}
		labels := containerLabels(u.Sandbox, k.Container)
		for _, f := range families {
			if f.container != nil {
				one.Metrics = append(one.Metrics, f.metrics(labels, f.container(k))...)
			}
		}
		out.ContainerMetrics = append(out.ContainerMetrics, one)
	}
	return out
}

// metrics are live: their timestamp is 0.
func (f family) metrics(labels []string, points []point) []*runtimeapi.Metric {
	kind := runtimeapi.MetricType_COUNTER
	if f.gauge {
		kind = runtimeapi.MetricType_GAUGE
	}
	out := make([]*runtimeapi.Metric, 0, len(points))
	for _, p := range points {
		values := labels
		if len(p.labels) > 0 {
			values = slices.Concat(labels, p.labels)
		}
		out = append(out, &runtimeapi.Metric{Name: f.name, MetricType: kind, LabelValues: values, Value: number(p.value)})
	}
	return out
}

// one makes a family's points of a value that every container has.
func one(value func(ctr.Usage) uint64) func(ctr.Usage) []point {
	return func(u ctr.Usage) []point { return []point{{value: value(u)}} }
}

// detail makes a family's points of what details have.
func detail(value func(*ctr.Details) uint64) func(ctr.Usage) []point {
	return func(u ctr.Usage) []point {
		if u.Details == nil {
			return nil
		}
		return []point{{value: value(u.Details)}}
	}
}
