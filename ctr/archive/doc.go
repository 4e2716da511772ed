// Package archive copies files in and out of a root folder as tar streams
// (tar(5)), confined to that root: every path is resolved by a thread whose own
// root is that folder (chroot(2) after unshare(2) of CLONE_FS), so that neither
// a symbolic link, nor "..", nor a link that is exchanged at the wrong moment,
// leads out of it.
//
// Terms: the root is where "/" is for all paths; for a running container it is
// the root of its first process, so that its mounts are seen as it sees them.
package archive
