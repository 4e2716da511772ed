// Package record keeps what davit knows of its objects, pods and containers,
// on disk and nowhere else: any number of processes work on the same records,
// each may die at any instruction, and the machine may lose power.
//
// The terms:
//
//   - A record is one object: an immutable configuration in the durable root,
//     a status in the run root, one folder in either for what belongs to it.
//   - A claim makes a key (a name) unique among the objects of one owner and
//     kind. It is a symlink to the object's ID.
//   - The status is small and is replaced whole, by [Dir.Update]. Its number
//     grows with every update.
//   - An operation is a change of an object that takes several steps. It is
//     written into the object's op file before its first side effect, with its
//     stage, and its owner holds a flock on that file for its whole length.
//     A free lock proves the owner dead, whatever the text says; the
//     operation is then finished or undone by whoever finds it.
//   - A record is lost when the run root keeps no status of it: the machine
//     rebooted. It is not whole when its creation or removal was cut short.
//
// The files:
//
//	root/<kind>/<id>/config.json            written once
//	root/<kind>/<id>/key.json               there once the object was renamed
//	root/<kind>/<id>/…                      what PutFile wrote
//	root/names/<kind>/<sha256(owner, key)>  the claim, a symlink → id
//	run/boot-id                             the boot that the run root belongs to
//	run/unsettled                           there until what a reboot ended is settled
//	run/status/<kind>/<id>.json             replaced by rename; watched
//	run/<kind>/<id>/op                      the operation; its flock is the object's
//	run/<kind>/<id>/                        its flock is the status lock
//
// The locks, outermost first: the operation (long: it is held across execs and
// waits), the status lock and the names lock (short: held around a few system
// calls). Readers take none. None of them works on a network file system.
//
// Errors are of the classes of containerd/errdefs: ErrNotFound,
// ErrAlreadyExists ([NameTakenError]), ErrUnavailable ([BusyError]),
// ErrInvalidArgument ([AmbiguousError], malformed IDs and names),
// ErrFailedPrecondition ([VersionError], mounts in the way) and ErrDataLoss
// ([ErrCorrupt]).
package record
