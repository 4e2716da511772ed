package criadapter

import (
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// streamServer serves Exec, ExecSync, Attach and PortForward.
type streamServer struct {
	pods       *pod.Controller
	containers *ctr.Controller
}
