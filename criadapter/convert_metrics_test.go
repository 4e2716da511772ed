package criadapter

import (
	"slices"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// traffic numbers a direction's counters from n on.
func traffic(n uint64) (t struct{ Bytes, Packets, Errors, Dropped uint64 }) {
	t.Bytes, t.Packets, t.Errors, t.Dropped = n, n+1, n+2, n+3
	return t
}

// Each metric has a descriptor, and as many values of labels as that has keys.
func TestMetricsAgreeWithDescriptors(t *testing.T) {
	families := metricFamilies()
	keys := map[string][]string{}
	for _, d := range descriptors(families) {
		if keys[d.Name] != nil {
			t.Errorf("%s is described twice", d.Name)
		}
		if d.Help == "" || !strings.HasSuffix(d.Help, ".") || !strings.HasPrefix(d.Name, "container_") {
			t.Errorf("%s: help %q", d.Name, d.Help)
		}
		keys[d.Name] = d.LabelKeys
	}
	found := map[string]bool{}
	check := func(metrics []*runtimeapi.Metric, labels map[string]string) {
		for _, m := range metrics {
			found[m.Name] = true
			if len(m.LabelValues) != len(keys[m.Name]) || m.Value == nil {
				t.Errorf("%s has labels %v of %v, value %v", m.Name, m.LabelValues, keys[m.Name], m.Value)
				continue
			}
			for i, key := range keys[m.Name] {
				if want, ok := labels[key]; ok && m.LabelValues[i] != want {
					t.Errorf("%s: label %s is %q, want %q", m.Name, key, m.LabelValues[i], want)
				}
			}
			if counter := strings.HasSuffix(m.Name, "_total") && m.Name != "container_fs_inodes_total" || m.Name == "container_memory_failcnt"; counter != (m.MetricType == runtimeapi.MetricType_COUNTER) {
				t.Errorf("%s is a %s", m.Name, m.MetricType)
			}
		}
	}
	got := podMetrics(families, busyPod())
	check(got.Metrics, map[string]string{"id": "/p", "name": "p1", "image": "", "namespace": "prod", "pod": "shop", "container": "POD"})
	check(got.ContainerMetrics[0].Metrics, map[string]string{
		"id": "/p/c1", "name": "c1", "image": "example.org/web:1", "namespace": "prod", "pod": "shop", "container": "web", "device": "/dev/sda",
	})
	for name := range keys {
		if !found[name] {
			t.Errorf("%s is described, and nothing has it", name)
		}
	}
}

// The names that dashboards and alerts are made of.
func TestMetricNames(t *testing.T) {
	want := strings.Fields(`container_blkio_device_usage_total container_cpu_cfs_periods_total container_cpu_cfs_throttled_periods_total
		container_cpu_cfs_throttled_seconds_total container_cpu_system_seconds_total container_cpu_usage_seconds_total container_cpu_user_seconds_total
		container_file_descriptors container_fs_inodes_free container_fs_inodes_total container_fs_limit_bytes container_fs_reads_bytes_total
		container_fs_reads_total container_fs_usage_bytes container_fs_writes_bytes_total container_fs_writes_total container_hugetlb_max_usage_bytes
		container_hugetlb_usage_bytes container_last_seen container_memory_cache container_memory_failcnt container_memory_failures_total
		container_memory_kernel_usage container_memory_mapped_file container_memory_max_usage_bytes container_memory_rss container_memory_swap
		container_memory_usage_bytes container_memory_working_set_bytes container_network_receive_bytes_total container_network_receive_errors_total
		container_network_receive_packets_dropped_total container_network_receive_packets_total container_network_transmit_bytes_total
		container_network_transmit_errors_total container_network_transmit_packets_dropped_total container_network_transmit_packets_total
		container_oom_events_total container_pressure_cpu_stalled_seconds_total container_pressure_cpu_waiting_seconds_total
		container_pressure_io_stalled_seconds_total container_pressure_io_waiting_seconds_total container_pressure_memory_stalled_seconds_total
		container_pressure_memory_waiting_seconds_total container_processes container_sockets container_spec_cpu_period container_spec_cpu_quota
		container_spec_cpu_shares container_spec_memory_limit_bytes container_spec_memory_reservation_limit_bytes container_spec_memory_swap_limit_bytes
		container_start_time_seconds container_threads container_threads_max container_ulimits_soft`)
	var got []string
	for _, d := range descriptors(metricFamilies()) {
		got = append(got, d.Name)
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("no %s", name)
		}
	}
}

func TestMetricValues(t *testing.T) {
	got := map[string]uint64{}
	all := podMetrics(metricFamilies(), busyPod())
	for _, m := range append(all.Metrics, all.ContainerMetrics[0].Metrics...) {
		got[m.Name+strings.Join(m.LabelValues[len(labelKeys()):], ",")] = m.Value.Value
		if m.Timestamp != 0 {
			t.Errorf("%s claims to be cached", m.Name)
		}
	}
	for name, want := range map[string]uint64{
		"container_cpu_usage_seconds_total" + "total": 3, "container_cpu_cfs_throttled_seconds_total": 4, "container_threads": 4, "container_threads_max": 10,
		"container_processes": 3, "container_memory_failures_total" + "pgfault,container": 5, "container_memory_failures_total" + "pgmajfault,hierarchy": 8,
		"container_network_receive_bytes_total" + "eth0": 1, "container_network_transmit_packets_dropped_total" + "eth0": 14,
		"container_blkio_device_usage_total" + "/dev/sda,8,0,Write": 2, "container_fs_usage_bytes": 11, "container_fs_inodes_free": 15,
		"container_ulimits_soft" + "max_open_files": 1024, "container_start_time_seconds": 90, "container_last_seen": 100,
		"container_pressure_cpu_waiting_seconds_total": 2, "container_hugetlb_max_usage_bytes" + "2MB": 2, "container_spec_memory_limit_bytes": 4096,
		"container_oom_events_total": 1, "container_memory_failcnt": 2,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %d (%v), want %d", name, v, ok, want)
		}
	}
}

// What is not known is left out, not told as 0; what there always is, is there
// on both versions of cgroups.
func TestMetricsOfLittle(t *testing.T) {
	u := pod.Usage{Containers: []ctr.Usage{{}}}
	got := podMetrics(metricFamilies(), u)
	var names []string
	for _, m := range got.ContainerMetrics[0].Metrics {
		names = append(names, m.Name)
	}
	for _, name := range []string{"container_fs_usage_bytes", "container_pressure_cpu_waiting_seconds_total", "container_ulimits_soft", "container_processes"} {
		if slices.Contains(names, name) {
			t.Errorf("%s of what is not known", name)
		}
	}
	if len(got.Metrics) != 0 || !slices.Contains(names, "container_threads") {
		t.Errorf("pod %v, container %v", got.Metrics, names)
	}
}
