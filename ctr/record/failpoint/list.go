package failpoint

import "slices"

// Listed is a point as the list has it.
type Listed struct {
	// Name is the whole name: of a point for ReachOf with the object's noun
	// before it, of a stage noun, kind and stage.
	Name string
	// Operations pass it when nothing goes wrong, or where they are undone.
	Operations []string
}

// All is the list of all points.
func All() []Listed { return slices.Concat(recordPoints(), stagePoints(), stepPoints()) }

// recordPoints are those of records.
func recordPoints() []Listed {
	return []Listed{
		{"container.record.claim", []string{"pod start", "create", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"container.record.config", []string{"pod start", "create", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"container.record.end", []string{"pod start", "pod stop", "pod rm", "create", "start", "stop", "rm", "run", "run --rm", "pause", "unpause", "cp", "pod start fails", "run fails", "RunPodSandbox", "CreateContainer", "StartContainer", "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "StartContainer fails", "start fails", "UpdateContainerResources"}},
		{"container.record.folder", []string{"pod start", "create", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"container.record.op", []string{"pod start", "create", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"container.record.root", []string{"pod start", "create", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"container.record.update", []string{"pod start", "pod stop", "pod rm", "create", "start", "stop", "rm", "run", "run --rm", "pause", "unpause", "cp", "pod start fails", "create fails", "run fails", "run --rm fails", "RunPodSandbox", "CreateContainer", "StartContainer", "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails", "StartContainer fails", "start fails", "UpdateContainerResources"}},
		{"container.remove.claim", []string{"pod stop", "pod rm", "rm", "run --rm", "pod start fails", "create fails", "run fails", "run --rm fails", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails"}},
		{"container.remove.config", []string{"pod stop", "pod rm", "rm", "run --rm", "pod start fails", "create fails", "run fails", "run --rm fails", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails"}},
		{"container.remove.op", []string{"pod stop", "pod rm", "rm", "run --rm", "pod start fails", "create fails", "run fails", "run --rm fails", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails"}},
		{"container.remove.record", []string{"pod stop", "pod rm", "rm", "run --rm", "pod start fails", "create fails", "run fails", "run --rm fails", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails"}},
		{"container.remove.root", []string{"pod stop", "pod rm", "rm", "run --rm", "pod start fails", "create fails", "run fails", "run --rm fails", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails"}},
		{"container.remove.run", []string{"pod stop", "pod rm", "rm", "run --rm", "pod start fails", "create fails", "run fails", "run --rm fails", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails"}},
		{"container.remove.status", []string{"pod stop", "pod rm", "rm", "run --rm", "pod start fails", "create fails", "run fails", "run --rm fails", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails"}},
		{"container.remove.volumes", []string{"rm", "RemoveContainer", "RemovePodSandbox", "run fails"}},
		{"container.rename.claim", []string{"rename"}},
		{"container.rename.intent", []string{"rename"}},
		{"container.rename.release", []string{"rename"}},
		{"pod.record.claim", []string{"pod create", "run", "run --rm", "RunPodSandbox"}},
		{"pod.record.config", []string{"pod create", "run", "run --rm", "RunPodSandbox"}},
		{"pod.record.end", []string{"pod create", "pod start", "pod stop", "start", "stop", "run", "run --rm", "pod start fails", "run fails", "RunPodSandbox", "StopPodSandbox"}},
		{"pod.record.folder", []string{"pod create", "run", "run --rm", "RunPodSandbox"}},
		{"pod.record.op", []string{"pod create", "run", "run --rm", "RunPodSandbox"}},
		{"pod.record.root", []string{"pod create", "run", "run --rm", "RunPodSandbox"}},
		{"pod.record.update", []string{"pod start", "pod stop", "pod rm", "start", "stop", "rm", "run", "run --rm", "pod start fails", "run fails", "run --rm fails", "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.remove.claim", []string{"pod rm", "rm", "run --rm", "run fails", "run --rm fails", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.remove.config", []string{"pod rm", "rm", "run --rm", "run fails", "run --rm fails", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.remove.op", []string{"pod rm", "rm", "run --rm", "run fails", "run --rm fails", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.remove.record", []string{"pod rm", "rm", "run --rm", "run fails", "run --rm fails", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.remove.root", []string{"pod rm", "rm", "run --rm", "run fails", "run --rm fails", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.remove.run", []string{"pod rm", "rm", "run --rm", "run fails", "run --rm fails", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.remove.status", []string{"pod rm", "rm", "run --rm", "run fails", "run --rm fails", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.remove.volumes", []string{"rm", "RemovePodSandbox", "run fails"}},
	}
}

// stagePoints are the stages of operations.
func stagePoints() []Listed {
	return []Listed{
		{"container.create.monitor", []string{"CreateContainer"}},
		{"container.create.mount", []string{"CreateContainer"}},
		{"container.create.rootfs", []string{"pod start", "create", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"container.create.runtime", []string{"CreateContainer"}},
		{"container.mount.mount", []string{"cp"}},
		{"container.pause.paused", []string{"pause"}},
		{"container.pause.running", []string{"unpause"}},
		{"container.start.monitor", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"container.start.mount", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"container.start.runtime", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"container.start.start", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox", "StartContainer"}},
		{"container.update.update", []string{"UpdateContainerResources"}},
		{"pod.create.cgroup", []string{"run", "run --rm", "RunPodSandbox"}},
		{"pod.create.infra", []string{"RunPodSandbox"}},
		{"pod.create.namespaces", []string{"run", "run --rm", "RunPodSandbox"}},
		{"pod.create.network", []string{"run", "run --rm", "RunPodSandbox"}},
		{"pod.start.cgroup", []string{"pod start", "start"}},
		{"pod.start.down", []string{"pod start fails"}},
		{"pod.start.infra", []string{"pod start", "start"}},
		{"pod.start.namespaces", []string{"pod start", "start"}},
		{"pod.start.network", []string{"pod start", "start"}},
		{"pod.stop.down", []string{"pod stop", "stop", "run fails", "StopPodSandbox"}},
	}
}

// stepPoints are those between side effects.
func stepPoints() []Listed {
	return []Listed{
		{"container.bundle", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"container.exit", []string{"stop", "rm", "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox"}},
		{"container.folders", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"container.running", []string{"start", "run", "StartContainer"}},
		{"container.unbundled", []string{"pod stop", "pod rm", "stop", "rm", "run --rm", "cp", "pod start fails", "create fails", "run fails", "run --rm fails", "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails", "StartContainer fails", "start fails"}},
		{"container.volumes", []string{"pod start", "create", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"exec.ended", []string{"exec", "ExecSync"}},
		{"exec.folder", []string{"exec", "ExecSync"}},
		{"exec.started", []string{"exec", "ExecSync"}},
		{"image.delete", []string{"rmi"}},
		{"image.deleted", []string{"rmi"}},
		{"infra.pinned", []string{"pod start", "start", "RunPodSandbox"}},
		{"infra.recorded", []string{"pod start", "start", "RunPodSandbox"}},
		{"infra.started", []string{"pod start", "start", "RunPodSandbox"}},
		{"monitor.forked", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"network.added", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"network.bridge", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"network.del", []string{"pod stop", "pod rm", "stop", "rm", "run --rm", "pod start fails", "run fails", "run --rm fails", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"network.forget", []string{"pod start", "pod stop", "pod rm", "start", "stop", "rm", "run", "run --rm", "pod start fails", "run fails", "run --rm fails", "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"network.left", []string{"pod stop", "pod rm", "stop", "rm", "run --rm", "pod start fails", "run fails", "run --rm fails", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"network.paired", []string{"pod start", "start", "run", "run --rm"}},
		{"network.point", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"network.publish", []string{"pod start", "start", "run"}},
		{"network.published", []string{"pod start", "start", "run"}},
		{"network.record", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"network.reserved", []string{"pod start", "start", "run", "run --rm"}},
		{"network.unpoint", []string{"pod start", "pod stop", "pod rm", "start", "stop", "rm", "run", "run --rm", "pod start fails", "run fails", "run --rm fails", "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"network.withdrawn", []string{"pod stop", "pod rm", "stop", "rm", "pod start fails", "run fails"}},
		{"pod.cgroup", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"pod.detached", []string{"pod stop", "pod rm", "stop", "rm", "run --rm", "pod start fails", "run fails", "run --rm fails", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.ended", []string{"pod stop", "StopPodSandbox"}},
		{"pod.pinned", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"pod.ready", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"pod.shm", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox"}},
		{"pod.uncgroup", []string{"pod stop", "pod rm", "stop", "rm", "run --rm", "pod start fails", "run fails", "run --rm fails", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.unpinned", []string{"pod stop", "pod rm", "stop", "rm", "run --rm", "pod start fails", "run fails", "run --rm fails", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pod.unshm", []string{"pod stop", "pod rm", "stop", "rm", "run --rm", "pod start fails", "run fails", "run --rm fails", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"pull.blob", []string{"pull"}},
		{"pull.folder", []string{"pull"}},
		{"pull.locked", []string{"pull"}},
		{"pull.named", []string{"pull"}},
		{"pull.published", []string{"pull"}},
		{"pull.stored", []string{"pull"}},
		{"remove.killed", []string{"pod stop", "pod rm", "rm", "run --rm", "pod start fails", "create fails", "run fails", "run --rm fails", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails"}},
		{"remove.volumes", []string{"pod stop", "pod rm", "rm", "run --rm", "pod start fails", "create fails", "run --rm fails", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails", "run fails"}},
		{"rootfs.delete", []string{"rm", "run --rm", "create fails", "run fails", "run --rm fails", "RemoveContainer", "RemovePodSandbox", "CreateContainer fails"}},
		{"rootfs.deleted", []string{"rm", "run --rm", "create fails", "run fails", "run --rm fails", "RemoveContainer", "RemovePodSandbox", "CreateContainer fails"}},
		{"rootfs.made", []string{"create", "run", "run --rm", "CreateContainer"}},
		{"rootfs.mounted", []string{"start", "run", "run --rm", "cp", "CreateContainer"}},
		{"rootfs.unmounted", []string{"stop", "rm", "cp", "run fails", "run --rm fails", "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "StartContainer fails", "start fails"}},
		{"runtime.created", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox", "CreateContainer"}},
		{"runtime.delete", []string{"pod stop", "pod rm", "stop", "rm", "run --rm", "pod start fails", "run fails", "run --rm fails", "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails", "StartContainer fails", "start fails"}},
		{"runtime.deleted", []string{"pod stop", "pod rm", "stop", "rm", "run --rm", "pod start fails", "run fails", "run --rm fails", "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails", "CreateContainer fails", "StartContainer fails", "start fails"}},
		{"runtime.started", []string{"pod start", "start", "run", "run --rm", "RunPodSandbox", "StartContainer"}},
		{"stop.ended", []string{"pod stop", "pod rm", "stop", "rm", "pod start fails", "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"stop.killed", []string{"pod stop", "pod rm", "stop", "rm", "pod start fails", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox", "RunPodSandbox fails"}},
		{"stop.signalled", []string{"stop", "StopContainer"}},
		{"undo.monitor", []string{"run fails", "run --rm fails", "StartContainer fails", "start fails"}},
		{"undo.processes", []string{"run fails", "run --rm fails", "StartContainer fails", "start fails"}},
		{"volume.built", []string{"create", "run"}},
		{"volume.discarded", []string{"rm", "create fails", "run --rm fails", "run fails"}},
	}
}
