package criadapter

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/netw"
)

// statusServer serves what the runtime says of itself.
type statusServer struct {
	networks *netw.Attacher
	version  string
}

// Version implements runtimeapi.RuntimeServiceServer.
func (s *statusServer) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: "0.1.0", RuntimeName: "davit", RuntimeVersion: s.version, RuntimeApiVersion: "v1",
	}, nil
}
