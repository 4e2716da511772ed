package failpoint

// Point is a place at which an operation can be cut short.
type Point string

// Points of a record, of a pod or a container, for ReachOf.
const (
	RecordFolder  Point = "record.folder"  // its run folder is there, and no operation
	RecordOp      Point = "record.op"      // its operation is written, and no record
	RecordRoot    Point = "record.root"    // its durable folder is there, and no configuration
	RecordConfig  Point = "record.config"  // its configuration is written, its name not claimed
	RecordClaim   Point = "record.claim"   // its name is claimed, its status not written
	RecordUpdate  Point = "record.update"  // a new status is about to be written
	RecordEnd     Point = "record.end"     // its operation is about to be cleared
	RemoveRecord  Point = "remove.record"  // its record is about to go
	RemoveRun     Point = "remove.run"     // what its run folder holds is gone
	RemoveClaim   Point = "remove.claim"   // its name is free
	RemoveConfig  Point = "remove.config"  // its configuration is gone
	RemoveRoot    Point = "remove.root"    // its durable folder is gone
	RemoveStatus  Point = "remove.status"  // its status is gone, its operation is not
	RemoveOp      Point = "remove.op"      // its operation is gone, its run folder is there, empty
	RenameIntent  Point = "rename.intent"  // the new name is written down, not claimed
	RenameClaim   Point = "rename.claim"   // it is claimed, the old one is the object's still
	RenameRelease Point = "rename.release" // it is the object's, the old one not released
)

// Points of a container's life.
const (
	ContainerVolumes   Point = "container.volumes"   // its volumes are there, its root filesystem is not
	ContainerFolders   Point = "container.folders"   // its run folders are made
	ContainerBundle    Point = "container.bundle"    // all is there but the bundle's config.json
	ContainerStart     Point = "container.running"   // it runs and says so; its start is not in the durable root
	ContainerExit      Point = "container.exit"      // its exit is about to be written into the durable root
	ContainerUnbundled Point = "container.unbundled" // its bundle is gone
	MonitorForked      Point = "monitor.forked"      // its monitor is held, and on no record
	RuntimeCreated     Point = "runtime.created"     // its process is there, and on no record
	RuntimeStarted     Point = "runtime.started"     // its process runs, and its status does not say so
	RuntimeDelete      Point = "runtime.delete"      // the runtime is about to forget it
	RuntimeDeleted     Point = "runtime.deleted"     // the runtime has forgotten it
	StopSignalled      Point = "stop.signalled"      // it was asked to end
	StopKilled         Point = "stop.killed"         // it was killed, its monitor may still write
	StopEnded          Point = "stop.ended"          // it has ended, and is not settled
	UndoMonitor        Point = "undo.monitor"        // a start is undone: the monitor is gone
	UndoProcesses      Point = "undo.processes"      // a start is undone: the processes are gone
	RemoveKilled       Point = "remove.killed"       // nothing of it lives
	RemoveVolumes      Point = "remove.volumes"      // its anonymous volumes are about to go
	VolumeBuilt        Point = "volume.built"        // a volume is whole beside its place
	VolumeDiscarded    Point = "volume.discarded"    // a volume is out of its place, and whole
	ExecFolder         Point = "exec.folder"         // an exec has a folder
	ExecStarted        Point = "exec.started"        // an exec's process runs
	ExecEnded          Point = "exec.ended"          // it has ended, its folder is there
)

// Points of a pod's life.
const (
	PodCgroup     Point = "pod.cgroup"     // its cgroup is made
	PodPinned     Point = "pod.pinned"     // its namespaces are pinned, and on no record
	PodShm        Point = "pod.shm"        // its /dev/shm is mounted
	PodReady      Point = "pod.ready"      // it is ready, its files do not say its address
	PodEnded      Point = "pod.ended"      // its containers have ended
	PodDetached   Point = "pod.detached"   // its network is given back, its namespaces are pinned
	PodUnpinned   Point = "pod.unpinned"   // its namespaces are gone
	PodUnshm      Point = "pod.unshm"      // its /dev/shm is unmounted
	PodUncgroup   Point = "pod.uncgroup"   // its cgroup is gone
	InfraRecorded Point = "infra.recorded" // its infra container has an ID, and no more
	InfraStarted  Point = "infra.started"  // its infra container runs
	InfraPinned   Point = "infra.pinned"   // its PID namespace is pinned, and on no record
)

// Points of networks.
const (
	NetworkRecord    Point = "network.record"    // an attachment is about to be written
	NetworkPoint     Point = "network.point"     // it is written, and no list has it
	NetworkBridge    Point = "network.bridge"    // the bridges are there
	NetworkReserved  Point = "network.reserved"  // its addresses are reserved, its interface is not there
	NetworkPaired    Point = "network.paired"    // its interface is there, on no bridge and without an address
	NetworkAdded     Point = "network.added"     // a network is joined
	NetworkPublish   Point = "network.publish"   // the result is written, the ports are not in the table
	NetworkPublished Point = "network.published" // the ports are in the table
	NetworkWithdrawn Point = "network.withdrawn" // the ports are out of the table
	NetworkDel       Point = "network.del"       // a network is about to be left
	NetworkLeft      Point = "network.left"      // it is left
	NetworkForget    Point = "network.forget"    // the record is about to go
	NetworkUnpoint   Point = "network.unpoint"   // the record is gone, a list has it
)

// Points of images and root filesystems.
const (
	RootfsMade      Point = "rootfs.made"      // a root filesystem is made
	RootfsMounted   Point = "rootfs.mounted"   // it is mounted
	RootfsUnmounted Point = "rootfs.unmounted" // it is unmounted
	RootfsDelete    Point = "rootfs.delete"    // it is about to be deleted
	RootfsDeleted   Point = "rootfs.deleted"   // it is deleted
	PullLocked      Point = "pull.locked"      // a pull has its lock
	PullFolder      Point = "pull.folder"      // it has a temporary folder
	PullBlob        Point = "pull.blob"        // it has brought a blob
	PullStored      Point = "pull.stored"      // the image is stored
	PullNamed       Point = "pull.named"       // the image has its names
	PullPublished   Point = "pull.published"   // those who wait for it may have it
	ImageDelete     Point = "image.delete"     // an image is about to be deleted
	ImageDeleted    Point = "image.deleted"    // it is deleted, what it was built on is not
)
