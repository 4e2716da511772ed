package criadapter

import (
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// containerServer serves the life of containers.
type containerServer struct {
	pods       *pod.Controller
	containers *ctr.Controller
}
