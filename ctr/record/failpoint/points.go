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
