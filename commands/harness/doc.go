// Package harness is what the script tests, the demo and the benchmark share:
// davit roots of their own, a registry on 127.0.0.1 with images made of
// busybox, a runner of the built binary, and the leak check.
//
// Terms. A snapshot is everything a container engine can leave behind on a
// machine, as lines of text, taken at one moment. A leak is a line that the
// later of two snapshots has and the earlier has not; damage is the opposite.
//
// Nothing here imports testing, so that programs can use it too: what a test
// hands in is the small interface T.
package harness
