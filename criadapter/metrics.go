package criadapter

import (
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// metricsServer serves the metrics that the kubelet passes on in cAdvisor's
// place.
type metricsServer struct {
	pods       *pod.Controller
	containers *ctr.Controller
}
