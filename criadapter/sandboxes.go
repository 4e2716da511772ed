package criadapter

import "github.com/davit-containers/davit/pod"

// sandboxServer serves the life of pod sandboxes.
type sandboxServer struct{ pods *pod.Controller }
