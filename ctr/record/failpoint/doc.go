// Package failpoint names the steps at which an operation can be cut short, for
// tests to prove that nothing is lost or left behind whichever it is.
//
// The terms:
//
//   - A point is a place between two side effects. Code that is about to go on
//     there calls [Reach], [ReachOf] or [ReachStage] and returns the error that
//     it is given, as one of the side effect itself.
//   - An operation is what a user or a kubelet asks for, "run" or
//     "StopPodSandbox". [All] is the one list of all points, each with the
//     operations that pass it.
//
// In an ordinary build nothing happens at a point: the functions are empty. Built
// with the tag failpoints, a process looks at its environment:
//
//   - DAVIT_FAILPOINT=name=kill, or error, or hang, says what happens when the
//     point is reached for the first time: the process is killed by SIGKILL, an
//     error is returned, or the caller waits until its context ends. name#n=kill
//     means the n-th time, step#n=kill the n-th point whatever its name. Several
//     are separated by commas.
//   - DAVIT_FAILPOINT_LOG names a file that every point reached is appended to,
//     a line each: name and pid. Times are then counted over all processes that
//     have the same file, and a fault comes once.
//   - DAVIT_FAILPOINT_DEADLINE, such as 2s, replaces every longer [Deadline].
package failpoint
