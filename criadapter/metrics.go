package criadapter

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// metricsServer serves the metrics that the kubelet passes on in cAdvisor's
// place.
type metricsServer struct {
	pods     *pod.Controller
	families []family
}

func newMetricsServer(o Options) *metricsServer {
	return &metricsServer{pods: o.Engine.Pods, families: metricFamilies()}
}

// ListMetricDescriptors implements runtimeapi.RuntimeServiceServer.
func (s *metricsServer) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	return &runtimeapi.ListMetricDescriptorsResponse{Descriptors: descriptors(s.families)}, nil
}

// ListPodSandboxMetrics implements runtimeapi.RuntimeServiceServer.
func (s *metricsServer) ListPodSandboxMetrics(ctx context.Context, _ *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	all, err := s.list(ctx)
	return &runtimeapi.ListPodSandboxMetricsResponse{PodMetrics: all}, err
}

// StreamPodSandboxMetrics implements runtimeapi.RuntimeServiceServer.
func (s *metricsServer) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, to runtimeapi.RuntimeService_StreamPodSandboxMetricsServer) error {
	all, err := s.list(to.Context())
	if err != nil {
		return err
	}
	return sendChunks(all, func(part []*runtimeapi.PodSandboxMetrics) error {
		return to.Send(&runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: part})
	})
}

func (s *metricsServer) list(ctx context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	all, _ := s.pods.List(ctx) // a record that is damaged has no metrics
	usages, err := s.pods.Usages(ctx, statsPods(all, nil), ctr.Detailed)
	out := make([]*runtimeapi.PodSandboxMetrics, 0, len(usages))
	for _, u := range usages {
		out = append(out, podMetrics(s.families, u))
	}
	return out, err
}
