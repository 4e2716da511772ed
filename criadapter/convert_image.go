package criadapter

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
)

// Pins says which images are reported as pinned.
type Pins struct {
	// Others pins the images that somebody else than a kubelet has brought here,
	// too: podman, or davit's command line.
	Others bool
	// Patterns pin by name: the whole of one, its beginning ("registry/app*") or
	// a part of it ("*app*"). A name without a tag is latest's.
	Patterns []string
}

// pinned says whether a garbage collection is asked to spare an image.
func (p Pins) pinned(im img.Image) bool {
	if p.Others && (len(im.Pulled) != 1 || im.Pulled[0] != string(record.OwnerCRI)) {
		return true
	}
	for _, pattern := range p.Patterns {
		for _, name := range im.Names {
			if pinMatches(pattern, name) {
				return true
			}
		}
		for _, name := range im.RepoDigests() {
			if pattern == name {
				return true
			}
		}
	}
	return false
}

func pinMatches(pattern, name string) bool {
	end, prefix := strings.CutSuffix(pattern, "*")
	if !prefix {
		return pattern == name || pattern+":latest" == name
	}
	if part, ok := strings.CutPrefix(end, "*"); ok {
		return strings.Contains(name, part)
	}
	return strings.HasPrefix(name, end)
}

// imageReference is the image that a request names.
func imageReference(spec *runtimeapi.ImageSpec) (string, error) {
	if spec.GetImage() == "" {
		return "", fmt.Errorf("the request names no image: %w", errdefs.ErrInvalidArgument)
	}
	return spec.GetImage(), nil
}

func unknownRuntime(name string, err error) error {
	return fmt.Errorf("runtime handler %q: %w: %w", name, errdefs.ErrInvalidArgument, err)
}

// credentials are those of a request: a user's, or a token's. They go to no
// other registry than the one that the request names, if it does.
func credentials(a *runtimeapi.AuthConfig) (*img.Credentials, error) {
	c := img.Credentials{
		Username: a.GetUsername(), Password: a.GetPassword(), Server: a.GetServerAddress(),
		IdentityToken: a.GetIdentityToken(), RegistryToken: a.GetRegistryToken(),
	}
	if c.Username == "" && a.GetAuth() != "" {
		text, err := base64.StdEncoding.DecodeString(a.GetAuth())
		user, password, ok := strings.Cut(strings.TrimRight(string(text), "\x00"), ":")
		if err != nil || !ok {
			return nil, fmt.Errorf("the request's auth is not USER:PASSWORD in base64: %w", errdefs.ErrInvalidArgument)
		}
		c.Username, c.Password = user, password
	}
	if c.Username == "" && c.IdentityToken == "" && c.RegistryToken == "" {
		return nil, nil
	}
	return &c, nil
}

// pullError begins with the word by which a kubelet knows that a registry cannot
// be reached.
func pullError(err error) error {
	if errdefs.IsUnavailable(err) && !errors.Is(err, img.ErrSignature) {
		return fmt.Errorf("%w: %w", crierrors.ErrRegistryUnavailable, err)
	}
	return err
}

// makeError begins with the words by which a kubelet knows that an image could not
// be mounted into a container.
func makeError(err error) error {
	if errors.Is(err, ctr.ErrImageMount) {
		return fmt.Errorf("%w: %w", crierrors.ErrImageVolumeMountFailed, err)
	}
	return err
}

// What an answer has of an image is bounded where the image decides: a kubelet takes
// 16 MiB for the list of all, and collects no image any more where there is more.
const (
	maxAnnotations = 64 << 10 // bytes of all keys and values; above it there are none
	maxUsername    = 256      // bytes; above it the beginning
)

// apiImage is an image in the API's terms. It does not depend on how the image
// was asked for.
func apiImage(im img.Image, pinned bool) *runtimeapi.Image {
	digests := im.RepoDigests()
	if len(im.Names) == 0 {
		// One whose tag has moved on is still known by where it came from.
		former := im
		former.Names = im.NamesHistory
		digests = former.RepoDigests()
	}
	uid, username := imageUser(im.Config.User)
	return &runtimeapi.Image{
		Id: imageID(im.ID), RepoTags: im.RepoTags(), RepoDigests: digests, Size: uint64(max(im.Size, 1)),
		Uid: uid, Username: username, Pinned: pinned,
		Spec: &runtimeapi.ImageSpec{Image: imageID(im.ID), Annotations: imageAnnotations(im.Annotations)},
	}
}

// imageAnnotations are those of an image's manifest, all of them or none.
func imageAnnotations(all map[string]string) map[string]string {
	size := 0
	for k, v := range all {
		if size += len(k) + len(v); size > maxAnnotations {
			return nil
		}
	}
	return all
}

// imageUser is the user of an image's config, which may have a group behind it. No
// name and no ID is root to a kubelet: one that is too long stays one.
func imageUser(user string) (*runtimeapi.Int64Value, string) {
	name, _, _ := strings.Cut(user, ":")
	if uid, err := strconv.ParseInt(name, 10, 64); err == nil {
		return &runtimeapi.Int64Value{Value: uid}, ""
	}
	return nil, strings.ToValidUTF8(name[:min(len(name), maxUsername)], "")
}

// verboseImage is what a verbose status adds. The names are those that crictl
// reads.
type verboseImage struct {
	ChainID   string            `json:"chainID,omitempty"`
	ImageSpec json.RawMessage   `json:"imageSpec,omitempty"` // the OCI config
	Labels    map[string]string `json:"labels,omitempty"`
	Digest    string            `json:"digest,omitempty"`
	DiffIDs   []string          `json:"diffIDs,omitempty"`
	PulledBy  []string          `json:"pulledBy,omitempty"`
}

func imageInfo(d img.Details) verboseImage {
	return verboseImage{
		ImageSpec: d.RawConfig, Labels: d.Config.Labels, Digest: d.Digest, DiffIDs: d.DiffIDs, PulledBy: d.Pulled,
	}
}

// fsInfo is what images take up. Containers lie on the same file system, unless
// the store is split in two.
func fsInfo(fs img.FileSystems) *runtimeapi.ImageFsInfoResponse {
	usage := func(u img.FileSystemUsage) []*runtimeapi.FilesystemUsage {
		return []*runtimeapi.FilesystemUsage{{
			Timestamp: u.At.UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: u.Path},
			UsedBytes:  &runtimeapi.UInt64Value{Value: u.Bytes},
			InodesUsed: &runtimeapi.UInt64Value{Value: u.Inodes},
		}}
	}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: usage(fs.Images), ContainerFilesystems: usage(fs.Containers)}
}
