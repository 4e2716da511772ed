// Package rootfs reads and prepares files within a container's mounted root
// filesystem.
//
// Everything in a root filesystem is the image's or the container's, and
// hostile: a path may lead through symlinks to the host, a passwd file may be
// a fifo or a terabyte, and a running container may exchange a directory for a
// symlink between two steps. Every path is therefore resolved by the kernel
// within the root (openat2(2) with RESOLVE_IN_ROOT, or the equivalent of
// pathrs-lite), worked on by the handle that this gives, and read only when
// it is a regular file, to a limit.
//
// A root is given by its path on the host, which the caller trusts.
package rootfs
