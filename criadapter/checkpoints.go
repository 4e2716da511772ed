package criadapter

import "github.com/davit-containers/davit/pod"

// checkpointServer serves checkpoints of containers and pods.
type checkpointServer struct{ pods *pod.Controller }
