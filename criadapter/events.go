package criadapter

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/pod"
)

// eventServer serves container events.
type eventServer struct{ pods *pod.Controller }

// GetContainerEvents implements runtimeapi.RuntimeServiceServer.
func (s *eventServer) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream runtimeapi.RuntimeService_GetContainerEventsServer) error {
	events, err := s.pods.Events()
	if err != nil {
		return err
	}
	defer events.Close()
	for {
		e, err := events.Next(stream.Context())
		if err != nil {
			return err
		}
		if err := stream.Send(containerEvent(e)); err != nil {
			return err
		}
	}
}
