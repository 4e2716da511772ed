// Package cri measures CRI servers: what a kubelet waits for, pod by pod, and
// what a server costs while nothing happens. The servers are measured in one run,
// one call at a time, in interleaved rounds.
package cri
