package criadapter

import (
	"context"
	"encoding/json"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
)

// ImageOptions steer the ImageService.
type ImageOptions struct {
	// Pins says which images a garbage collection is asked to spare.
	Pins Pins
}

// imageServer is the ImageService.
type imageServer struct {
	images     *img.Store
	containers *ctr.Controller
	o          ImageOptions
	runtimeapi.UnimplementedImageServiceServer
}

func newImageServer(o Options) *imageServer {
	return &imageServer{images: o.Engine.Images, containers: o.Engine.Containers, o: o.Images}
}

// PullImage implements runtimeapi.ImageServiceServer.
func (s *imageServer) PullImage(ctx context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	ref, err := imageReference(r.GetImage())
	if err != nil {
		return nil, err
	}
	if h := r.GetImage().GetRuntimeHandler(); h != "" {
		if err := s.containers.CheckRuntime(h); err != nil {
			return nil, unknownRuntime(h, err)
		}
	}
	creds, err := credentials(r.GetAuth())
	if err != nil {
		return nil, err
	}
	// The name of an image, whatever it looks like: never a file of the host's.
	im, err := s.images.Pull(ctx, "docker://"+ref, img.PullOptions{
		Owner: string(record.OwnerCRI), Registry: img.Registry{Creds: creds}, DockerIO: true,
	})
	if err != nil {
		return nil, pullError(err)
	}
	return &runtimeapi.PullImageResponse{ImageRef: imageID(im.ID)}, nil
}

// ImageStatus implements runtimeapi.ImageServiceServer. An image that is not
// there is an answer without one.
func (s *imageServer) ImageStatus(ctx context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	ref, err := imageReference(r.GetImage())
	if err != nil {
		return nil, err
	}
	im, err := s.images.ResolveAs(ctx, ref, img.MatchExact)
	if err != nil {
		return &runtimeapi.ImageStatusResponse{}, ctr.AbsentOK(err)
	}
	if !r.GetVerbose() {
		return &runtimeapi.ImageStatusResponse{Image: s.image(im)}, nil
	}
	d, err := s.images.Inspect(ctx, im.ID)
	if err != nil {
		return &runtimeapi.ImageStatusResponse{}, ctr.AbsentOK(err)
	}
	info, err := json.Marshal(imageInfo(d))
	if err != nil {
		return nil, fmt.Errorf("describing image %q: %w", ref, err)
	}
	return &runtimeapi.ImageStatusResponse{Image: s.image(d.Image), Info: map[string]string{"info": string(info)}}, nil
}

// ListImages implements runtimeapi.ImageServiceServer.
func (s *imageServer) ListImages(ctx context.Context, r *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	images, err := s.list(ctx, r.GetFilter())
	return &runtimeapi.ListImagesResponse{Images: images}, err
}

// StreamImages implements runtimeapi.ImageServiceServer.
func (s *imageServer) StreamImages(r *runtimeapi.StreamImagesRequest, out runtimeapi.ImageService_StreamImagesServer) error {
	images, err := s.list(out.Context(), r.GetFilter())
	if err != nil {
		return err
	}
	return sendChunks(images, func(part []*runtimeapi.Image) error {
		return out.Send(&runtimeapi.StreamImagesResponse{Images: part})
	})
}

// RemoveImage implements runtimeapi.ImageServiceServer: with all its names,
// whichever of them was given.
func (s *imageServer) RemoveImage(ctx context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	ref, err := imageReference(r.GetImage())
	if err != nil {
		return nil, err
	}
	im, err := s.images.ResolveAs(ctx, ref, img.MatchExact)
	if err != nil {
		return &runtimeapi.RemoveImageResponse{}, ctr.AbsentOK(err)
	}
	_, err = s.images.Remove(ctx, im.ID, img.RemoveOptions{Force: true, KeepParents: true})
	return &runtimeapi.RemoveImageResponse{}, ctr.AbsentOK(err)
}

// ImageFsInfo implements runtimeapi.ImageServiceServer.
func (s *imageServer) ImageFsInfo(ctx context.Context, _ *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	u, err := s.images.FileSystems(ctx)
	if err != nil {
		return nil, err
	}
	return fsInfo(u), nil
}

// list are the images that a filter lets through. One that cannot be read is
// listed with what is known of it, so that it can be removed.
func (s *imageServer) list(ctx context.Context, f *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	if ref := f.GetImage().GetImage(); ref != "" {
		im, err := s.images.ResolveAs(ctx, ref, img.MatchExact)
		if err != nil {
			return nil, ctr.AbsentOK(err)
		}
		return []*runtimeapi.Image{s.image(im)}, nil
	}
	all, err := s.images.List(ctx, img.ListOptions{All: true, Annotations: true})
	if err != nil && len(all) == 0 {
		return nil, err
	}
	out := make([]*runtimeapi.Image, len(all))
	for i, im := range all {
		out[i] = s.image(im)
	}
	return out, nil
}

func (s *imageServer) image(im img.Image) *runtimeapi.Image { return apiImage(im, s.o.Pins.pinned(im)) }
