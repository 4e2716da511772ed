// Package selinux makes the SELinux labels of containers and gives them to files.
//
// The containers of a pod share a level, which no other pod has; what is in use is
// what the records say. On a host without SELinux nothing is labelled, and what
// was asked for is an error.
package selinux
