// Package criadapter serves the Kubernetes Container Runtime Interface on
// davit's engine: each call is converted, passed to the domain (packages pod,
// ctr, img and netw), and its answer converted back.
//
// The server is composed of one small server a concern, in a file of its own:
// sandboxes, containers, streams, stats, metrics, checkpoints, events, the
// runtime's own status, images. They keep nothing but streaming sessions: what a
// second process would need is on disk, and what is cached, joined or sampled is
// so in the domain.
//
// Files named convert_*.go are pure: values of the API to values of the domain
// and back. Errors leave by one door: an interceptor maps the classes of
// containerd/errdefs to gRPC's codes (errors.go).
package criadapter
