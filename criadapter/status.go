package criadapter

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/containerd/errdefs"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/netw"
)

// statusServer serves what the runtime says of itself.
type statusServer struct {
	networks   *netw.Attacher
	containers *ctr.Controller
	version    string // of davit, as it was built
	semver     string // the same for the API
	systemd    bool
	podCIDR    atomic.Value // string, what the kubelet has told last
}

func newStatusServer(o Options) *statusServer {
	return &statusServer{
		networks: o.Engine.Networks, containers: o.Engine.Containers,
		version: o.Version, semver: semanticVersion(o.Version), systemd: o.SystemdCgroups,
	}
}

// Version implements runtimeapi.RuntimeServiceServer.
func (s *statusServer) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: "0.1.0", RuntimeName: "davit", RuntimeVersion: s.semver, RuntimeApiVersion: "v1",
	}, nil
}

// Status implements runtimeapi.RuntimeServiceServer.
func (s *statusServer) Status(ctx context.Context, r *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	runtimes := s.containers.Runtimes(ctx)
	network := s.networks.Ready(ctx)
	resp := &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			runtimeCondition(runtimes), networkCondition(network),
		}},
		RuntimeHandlers: runtimeHandlers(runtimes),
		Features:        &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true, MountOptions: true},
	}
	if r.GetVerbose() {
		info, err := json.Marshal(map[string]any{
			"version": s.version, "runtimes": runtimes, "podCIDR": s.podCIDR.Load(), "cgroupDriver": s.driver().String(),
		})
		if err != nil {
			return nil, fmt.Errorf("encoding the runtime's information: %w", err)
		}
		resp.Info = map[string]string{"config": string(info)}
	}
	return resp, nil
}

// RuntimeConfig implements runtimeapi.RuntimeServiceServer.
func (s *statusServer) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: s.driver()}}, nil
}

// UpdateRuntimeConfig implements runtimeapi.RuntimeServiceServer. The addresses of
// pods are a network's to give out; Status shows what the kubelet has told.
func (s *statusServer) UpdateRuntimeConfig(_ context.Context, r *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	cidr, err := podCIDR(r)
	if err != nil {
		return nil, err
	}
	if cidr != "" {
		s.podCIDR.Store(cidr)
	}
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}

func (s *statusServer) driver() runtimeapi.CgroupDriver {
	if s.systemd {
		return runtimeapi.CgroupDriver_SYSTEMD
	}
	return runtimeapi.CgroupDriver_CGROUPFS
}

// runtimeCondition says whether containers can be made at all: the default runtime
// is there.
func runtimeCondition(runtimes []ctr.RuntimeInfo) *runtimeapi.RuntimeCondition {
	c := &runtimeapi.RuntimeCondition{Type: runtimeapi.RuntimeReady, Status: true}
	if len(runtimes) == 0 || runtimes[0].Name != "" {
		c.Status, c.Reason, c.Message = false, "RuntimeNotFound", "the default OCI runtime is not installed"
	}
	return c
}

// networkCondition says whether pods can be given addresses.
func networkCondition(err error) *runtimeapi.RuntimeCondition {
	c := &runtimeapi.RuntimeCondition{Type: runtimeapi.NetworkReady, Status: err == nil}
	if err != nil {
		c.Reason, c.Message = "NetworkPluginNotReady", errorText(err.Error())
	}
	return c
}

func runtimeHandlers(runtimes []ctr.RuntimeInfo) []*runtimeapi.RuntimeHandler {
	var out []*runtimeapi.RuntimeHandler
	for _, r := range runtimes {
		out = append(out, &runtimeapi.RuntimeHandler{Name: r.Name, Features: &runtimeapi.RuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: r.RecursiveReadOnly, UserNamespaces: r.UserNamespaces,
		}})
	}
	return out
}

// semver is what a version of semver.org is.
const semver = `^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`

// semanticVersion is a version as the API wants it: a kubelet shows no other. One that
// is none, for it was not built from a tag, becomes the metadata of 0.0.0-dev.
func semanticVersion(v string) string {
	if bare := strings.TrimPrefix(v, "v"); regexp.MustCompile(semver).MatchString(bare) {
		return bare
	}
	foreign := regexp.MustCompile(`[^0-9a-zA-Z-]+`)
	metadata := strings.Trim(foreign.ReplaceAllString(v, "-"), "-")
	if metadata == "" {
		return "0.0.0-dev"
	}
	return "0.0.0-dev+" + metadata
}

// podCIDR is the range, or the ranges, that a kubelet was given for its pods.
func podCIDR(r *runtimeapi.UpdateRuntimeConfigRequest) (string, error) {
	cidr := r.GetRuntimeConfig().GetNetworkConfig().GetPodCidr()
	if cidr == "" {
		return "", nil
	}
	for one := range strings.SplitSeq(cidr, ",") {
		if _, err := netip.ParsePrefix(strings.TrimSpace(one)); err != nil {
			return "", fmt.Errorf("pod_cidr %q is no list of subnets: %w", cidr, errdefs.ErrInvalidArgument)
		}
	}
	return cidr, nil
}
