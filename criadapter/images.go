package criadapter

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/img"
)

// imageServer is the ImageService.
type imageServer struct {
	images *img.Store
	runtimeapi.UnimplementedImageServiceServer
}

func newImageServer(o Options) *imageServer { return &imageServer{images: o.Engine.Images} }
