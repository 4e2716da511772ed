package criadapter

import "github.com/davit-containers/davit/pod"

// eventServer serves container events.
type eventServer struct{ pods *pod.Controller }
