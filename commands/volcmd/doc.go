// Package volcmd has the verbs about volumes: folders that outlive the
// containers that mount them (package ctr/volume).
package volcmd
