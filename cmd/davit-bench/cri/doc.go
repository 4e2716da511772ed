// Package cri measures CRI servers: what a kubelet waits for, pod by pod and many
// at once, and what a server costs while nothing happens and while a kubelet asks
// for everything each second. The servers are measured in one run, in interleaved
// rounds.
package cri
