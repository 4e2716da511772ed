//go:build faults

package faults

import "testing"

// A check finds nothing where nothing is wrong, whatever there is.
func TestCheckFindsNothing(t *testing.T) {
	n := newNode(t, "")
	n.check()
	s := n.serve()
	pod := s.sandbox(s.podConfig("live"))
	s.container(pod, s.containerConfig("c", "exec sleep 1000"))
	n.must("run", "-d", "--name", "web", "-p", "18080:80", n.image, "sleep", "1000")
	n.must("pod", "create", "--name", "family", "--share", "net,ipc,uts,pid")
	n.must("run", "-d", "--pod", "family", "--name", "child", n.image, "sleep", "1000")
	n.must("create", "--name", "made", n.image, "true")
	n.must("run", "--name", "ended", n.image, "true")
	n.must("network", "create", "own")
	n.must("run", "-d", "--name", "on", "--network", "own", n.image, "sleep", "1000")
	n.must("volume", "create", "v")
	n.check()
	n.must("system", "check", "--deep")
	n.must("pause", "web")
	n.check()
	n.must("system", "check", "--repair")
	n.must("unpause", "web")
	s.remove(pod)
	n.check()
	n.empty()
	n.must("network", "rm", "own")
	n.must("system", "check", "--deep")
}
