package criadapter

import (
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// statsServer serves the counters of containers and sandboxes.
type statsServer struct {
	pods       *pod.Controller
	containers *ctr.Controller
}
