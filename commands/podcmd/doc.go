// Package podcmd has the verbs about pods: pod create, pod ps and their like.
//
// A verb is one file. What they share is in find.go; the flags that pods have in
// common with containers, and what is printed of both, are in the packages below
// ctrcmd.
package podcmd
