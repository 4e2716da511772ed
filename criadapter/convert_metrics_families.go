package criadapter

import (
	"slices"
	"strings"
	"time"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/pod"
)

// metricFamilies are all metrics there are.
func metricFamilies() []family {
	return slices.Concat(cpuFamilies(), memoryFamilies(), hugeFamilies(), layerFamilies(), blockFamilies(), networkFamilies(),
		processFamilies(), limitFamilies(), pressureFamilies())
}

// seconds is what the API has of nanoseconds.
func seconds(nanos uint64) uint64 { return nanos / uint64(time.Second) }

func cpuFamilies() []family {
	return []family{
		{name: "container_cpu_usage_seconds_total", help: "Cumulative CPU time consumed, in seconds.", keys: []string{"cpu"},
			container: func(u ctr.Usage) []point { return []point{{[]string{"total"}, seconds(u.Stats.CPU.Usage)}} }},
		{name: "container_cpu_user_seconds_total", help: "Cumulative user CPU time consumed, in seconds.",
			container: one(func(u ctr.Usage) uint64 { return seconds(u.Stats.CPU.User) })},
		{name: "container_cpu_system_seconds_total", help: "Cumulative system CPU time consumed, in seconds.",
			container: one(func(u ctr.Usage) uint64 { return seconds(u.Stats.CPU.System) })},
		{name: "container_cpu_cfs_periods_total", help: "Number of elapsed enforcement period intervals.",
			container: one(func(u ctr.Usage) uint64 { return u.Stats.CPU.Periods })},
		{name: "container_cpu_cfs_throttled_periods_total", help: "Number of throttled period intervals.",
			container: one(func(u ctr.Usage) uint64 { return u.Stats.CPU.ThrottledPeriods })},
		{name: "container_cpu_cfs_throttled_seconds_total", help: "Total time for which the container has been throttled, in seconds.",
			container: one(func(u ctr.Usage) uint64 { return seconds(u.Stats.CPU.Throttled) })},
	}
}

func memoryFamilies() []family {
	gauge := func(name, help string, value func(ctr.Usage) uint64) family {
		return family{name: name, help: help, gauge: true, container: one(value)}
	}
	return []family{
		gauge("container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed.",
			func(u ctr.Usage) uint64 { return u.Stats.Memory.Usage }),
		gauge("container_memory_working_set_bytes", "Current working set in bytes.", func(u ctr.Usage) uint64 { return u.Stats.Memory.WorkingSet }),
		gauge("container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes.", func(u ctr.Usage) uint64 { return u.Stats.Memory.MaxUsage }),
		gauge("container_memory_rss", "Size of RSS in bytes.", func(u ctr.Usage) uint64 { return u.Stats.Memory.RSS }),
		gauge("container_memory_cache", "Number of bytes of page cache memory.", func(u ctr.Usage) uint64 { return u.Stats.Memory.Cache }),
		gauge("container_memory_swap", "Swap usage in bytes.", func(u ctr.Usage) uint64 { return u.Stats.Memory.Swap }),
		gauge("container_memory_mapped_file", "Size of memory mapped files in bytes.", func(u ctr.Usage) uint64 { return u.Stats.Memory.Mapped }),
		gauge("container_memory_kernel_usage", "Size of kernel memory allocated in bytes.", func(u ctr.Usage) uint64 { return u.Stats.Memory.Kernel }),
		gauge("container_memory_total_active_file_bytes", "Active file memory in bytes.", func(u ctr.Usage) uint64 { return u.Stats.Memory.ActiveFile }),
		gauge("container_memory_total_inactive_file_bytes", "Inactive file memory in bytes.", func(u ctr.Usage) uint64 { return u.Stats.Memory.InactiveFile }),
		gauge("container_memory_active_anon_bytes", "Active anonymous memory in bytes.", func(u ctr.Usage) uint64 { return u.Stats.Memory.ActiveAnon }),
		gauge("container_memory_inactive_anon_bytes", "Inactive anonymous memory in bytes.", func(u ctr.Usage) uint64 { return u.Stats.Memory.InactiveAnon }),
		gauge("container_memory_anon_thp_bytes", "Anonymous memory in transparent huge pages, in bytes; 0 on cgroup v1.",
			func(u ctr.Usage) uint64 { return u.Stats.Memory.AnonTHP }),
		gauge("container_memory_shmem_thp_bytes", "Shared memory in transparent huge pages, in bytes; 0 on cgroup v1.",
			func(u ctr.Usage) uint64 { return u.Stats.Memory.ShmemTHP }),
		gauge("container_memory_file_thp_bytes", "File memory in transparent huge pages, in bytes; 0 on cgroup v1.",
			func(u ctr.Usage) uint64 { return u.Stats.Memory.FileTHP }),
		{name: "container_memory_failcnt", help: "Number of times that memory usage hit its limit.",
			container: one(func(u ctr.Usage) uint64 { return u.Stats.Memory.Failures })},
		{name: "container_memory_failures_total", help: "Cumulative count of memory allocation failures.",
			keys: []string{"failure_type", "scope"}, container: failures},
		{name: "container_oom_events_total", help: "Count of out of memory events observed for the container.",
			container: one(func(u ctr.Usage) uint64 { return u.Stats.Memory.OOMKills })},
	}
}

func failures(u ctr.Usage) []point {
	m := u.Stats.Memory
	return []point{
		{[]string{"pgfault", "container"}, m.OwnPageFaults}, {[]string{"pgfault", "hierarchy"}, m.PageFaults},
		{[]string{"pgmajfault", "container"}, m.OwnMajorFaults}, {[]string{"pgmajfault", "hierarchy"}, m.MajorPageFaults},
	}
}

func hugeFamilies() []family {
	points := func(value func(usage, highest uint64) uint64) func(ctr.Usage) []point {
		return func(u ctr.Usage) []point {
			var out []point
			for _, h := range u.Stats.Huge {
				out = append(out, point{[]string{h.Size}, value(h.Usage, h.Max)})
			}
			return out
		}
	}
	return []family{
		{name: "container_hugetlb_usage_bytes", help: "Current use of huge pages in bytes.", gauge: true, keys: []string{"pagesize"},
			container: points(func(usage, _ uint64) uint64 { return usage })},
		{name: "container_hugetlb_max_usage_bytes", help: "Maximum use of huge pages recorded, in bytes; 0 on cgroup v2.", gauge: true, keys: []string{"pagesize"},
			container: points(func(_, highest uint64) uint64 { return highest })},
	}
}

// layerFamilies are about the file system of the writable layer.
func layerFamilies() []family {
	gauge := func(name, help string, value func(img.LayerUsage) uint64) family {
		return family{name: name, help: help, gauge: true, container: func(u ctr.Usage) []point {
			if u.Layer == nil {
				return nil
			}
			return []point{{value: value(*u.Layer)}}
		}}
	}
	return []family{
		gauge("container_fs_usage_bytes", "Bytes that the container's writable layer takes up.", func(l img.LayerUsage) uint64 { return l.Bytes }),
		gauge("container_fs_limit_bytes", "Size of the file system of the writable layer in bytes.", func(l img.LayerUsage) uint64 { return l.Capacity }),
		gauge("container_fs_inodes_total", "Number of inodes of that file system.", func(l img.LayerUsage) uint64 { return l.InodesTotal }),
		gauge("container_fs_inodes_free", "Number of its free inodes.", func(l img.LayerUsage) uint64 { return l.InodesFree }),
	}
}

func blockFamilies() []family {
	counter := func(name, help string, value func(ctr.Device) uint64) family {
		return family{name: name, help: help, keys: []string{"device"}, container: func(u ctr.Usage) []point {
			var out []point
			for _, d := range u.Stats.IO.Devices {
				out = append(out, point{[]string{d.Name}, value(d)})
			}
			return out
		}}
	}
	return []family{
		counter("container_fs_reads_bytes_total", "Cumulative count of bytes read.", func(d ctr.Device) uint64 { return d.ReadBytes }),
		counter("container_fs_reads_total", "Cumulative count of reads completed.", func(d ctr.Device) uint64 { return d.ReadOps }),
		counter("container_fs_writes_bytes_total", "Cumulative count of bytes written.", func(d ctr.Device) uint64 { return d.WriteBytes }),
		counter("container_fs_writes_total", "Cumulative count of writes completed.", func(d ctr.Device) uint64 { return d.WriteOps }),
		{name: "container_blkio_device_usage_total", help: "Bytes read from and written to a block device.",
			keys: []string{"device", "major", "minor", "operation"}, container: blockUsage},
	}
}

func blockUsage(u ctr.Usage) []point {
	var out []point
	for _, d := range u.Stats.IO.Devices {
		major, minor, _ := strings.Cut(d.Device, ":")
		out = append(out, point{[]string{d.Name, major, minor, "Read"}, d.ReadBytes}, point{[]string{d.Name, major, minor, "Write"}, d.WriteBytes})
	}
	return out
}

func networkFamilies() []family {
	counter := func(name, help string, value func(pod.Interface) uint64) family {
		return family{name: name, help: help, keys: []string{"interface"}, pod: func(u pod.Usage) []point {
			var out []point
			for _, i := range u.Interfaces {
				out = append(out, point{[]string{i.Name}, value(i)})
			}
			return out
		}}
	}
	return []family{
		counter("container_network_receive_bytes_total", "Cumulative count of bytes received.", func(i pod.Interface) uint64 { return i.Rx.Bytes }),
		counter("container_network_receive_packets_total", "Cumulative count of packets received.", func(i pod.Interface) uint64 { return i.Rx.Packets }),
		counter("container_network_receive_packets_dropped_total", "Cumulative count of packets dropped while receiving.", func(i pod.Interface) uint64 { return i.Rx.Dropped }),
		counter("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving.", func(i pod.Interface) uint64 { return i.Rx.Errors }),
		counter("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted.", func(i pod.Interface) uint64 { return i.Tx.Bytes }),
		counter("container_network_transmit_packets_total", "Cumulative count of packets transmitted.", func(i pod.Interface) uint64 { return i.Tx.Packets }),
		counter("container_network_transmit_packets_dropped_total", "Cumulative count of packets dropped while transmitting.", func(i pod.Interface) uint64 { return i.Tx.Dropped }),
		counter("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting.", func(i pod.Interface) uint64 { return i.Tx.Errors }),
	}
}

func processFamilies() []family {
	gauge := func(name, help string, points func(ctr.Usage) []point) family {
		return family{name: name, help: help, gauge: true, container: points}
	}
	return []family{
		gauge("container_processes", "Number of processes running inside the container.", detail(func(d *ctr.Details) uint64 { return d.Processes })),
		gauge("container_threads", "Number of threads running inside the container.", one(func(u ctr.Usage) uint64 { return u.Stats.Pids.Current })),
		gauge("container_threads_max", "Maximum number of threads allowed inside the container, infinity if value is zero.",
			one(func(u ctr.Usage) uint64 { return u.Stats.Pids.Limit })),
		gauge("container_file_descriptors", "Number of open file descriptors of the container.", detail(func(d *ctr.Details) uint64 { return d.OpenFiles })),
		gauge("container_sockets", "Number of open sockets of the container.", detail(func(d *ctr.Details) uint64 { return d.Sockets })),
		{name: "container_ulimits_soft", help: "Soft limits of the container's first process.", gauge: true, keys: []string{"ulimit"},
			container: func(u ctr.Usage) []point {
				if u.Details == nil || u.Details.OpenFilesLimit == nil {
					return nil
				}
				return []point{{[]string{"max_open_files"}, *u.Details.OpenFilesLimit}}
			}},
		gauge("container_last_seen", "Last time that the container was seen, in seconds since the epoch.",
			one(func(u ctr.Usage) uint64 { return epoch(u.Stats.At) })),
		gauge("container_start_time_seconds", "Start time of the container, in seconds since the epoch.",
			one(func(u ctr.Usage) uint64 { return epoch(u.Container.Status.StartedAt) })),
	}
}

func epoch(t time.Time) uint64 { return uint64(max(0, t.Unix())) }

// limitFamilies are the limits as they are in force.
func limitFamilies() []family {
	gauge := func(name, help string, value func(*ctr.Details) uint64) family {
		return family{name: name, help: help, gauge: true, container: detail(value)}
	}
	return []family{
		gauge("container_spec_cpu_period", "CPU period of the container.", func(d *ctr.Details) uint64 { return d.Limits.CPUPeriod }),
		gauge("container_spec_cpu_quota", "CPU quota of the container; 0 is none.", func(d *ctr.Details) uint64 { return d.Limits.CPUQuota }),
		gauge("container_spec_cpu_shares", "CPU share of the container.", func(d *ctr.Details) uint64 { return d.Limits.CPUShares }),
		gauge("container_spec_memory_limit_bytes", "Memory limit of the container; 0 is none.", func(d *ctr.Details) uint64 { return d.Limits.Memory }),
		gauge("container_spec_memory_reservation_limit_bytes", "Memory reservation of the container; 0 is none.", func(d *ctr.Details) uint64 { return d.Limits.Reservation }),
		gauge("container_spec_memory_swap_limit_bytes", "Swap limit of the container; 0 is none.", func(d *ctr.Details) uint64 { return d.Limits.Swap }),
	}
}

// pressureFamilies have points on cgroup v2 alone.
func pressureFamilies() []family {
	counter := func(name, help string, total func(cpu, memory, io ctr.Pressure) uint64) family {
		return family{name: name, help: help, container: func(u ctr.Usage) []point {
			p := u.Stats.Pressure
			if p == nil {
				return nil
			}
			return []point{{value: seconds(total(p.CPU, p.Memory, p.IO))}}
		}}
	}
	const stalled, waiting = "Total time in which no task of the container could make progress for lack of ", "Total time in which tasks of the container have waited for "
	return []family{
		counter("container_pressure_cpu_stalled_seconds_total", stalled+"CPU, in seconds.", func(c, _, _ ctr.Pressure) uint64 { return c.Full.Total }),
		counter("container_pressure_cpu_waiting_seconds_total", waiting+"CPU, in seconds.", func(c, _, _ ctr.Pressure) uint64 { return c.Some.Total }),
		counter("container_pressure_memory_stalled_seconds_total", stalled+"memory, in seconds.", func(_, m, _ ctr.Pressure) uint64 { return m.Full.Total }),
		counter("container_pressure_memory_waiting_seconds_total", waiting+"memory, in seconds.", func(_, m, _ ctr.Pressure) uint64 { return m.Some.Total }),
		counter("container_pressure_io_stalled_seconds_total", stalled+"IO, in seconds.", func(_, _, i ctr.Pressure) uint64 { return i.Full.Total }),
		counter("container_pressure_io_waiting_seconds_total", waiting+"IO, in seconds.", func(_, _, i ctr.Pressure) uint64 { return i.Some.Total }),
	}
}
