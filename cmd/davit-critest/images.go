package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// image is one that the suite pulls: what is built under the names that it has
// in public registries, of which the registry here is a mirror.
type image struct {
	names  []string // without the registry
	config harness.ImageConfig
}

const (
	e2e     = "e2e-test-images/"
	staging = "k8s-staging-cri-tools/"
)

// suiteUsers are the users that the suite's images are to have.
func suiteUsers() []harness.File {
	return []harness.File{
		{Path: "/etc/passwd", Text: "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\n" +
			"default-user:x:1000:1000::/home/default-user:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"},
		{Path: "/etc/group", Text: "root:x:0:\nwww-data:x:33:\ndefault-user:x:1000:\nnobody:x:65534:\n" +
			"group-defined-in-image:x:50000:default-user\n"},
	}
}

// suiteBase is what all images but the smallest are built on: busybox with one
// name a command, a shell that runs the commands of PATH and not those it has
// itself (a masked /bin/ls must not work, with the words that busybox has for it),
// and what Debian's busybox-static lacks.
func suiteBase(ctx context.Context, shell string) (v1.Image, error) {
	return harness.Busybox(ctx, harness.ImageConfig{
		HardLinks: true,
		Programs: []harness.Program{
			{From: shell, To: "/bin/sh"},
			{From: "/usr/bin/pgrep", To: "/bin/pgrep"},
			{From: "/usr/bin/ipcs", To: "/bin/ipcs"},
		},
		Files: suiteUsers(),
	})
}

// suiteImages are all images but the one that is pulled by its digest.
func suiteImages(setuid string) []image {
	images := []image{
		{[]string{e2e + "busybox:1.29-2"}, harness.ImageConfig{}},
		{[]string{e2e + "nginx:1.14-2"}, nginx(80)},
		{[]string{staging + "hostnet-nginx-" + runtime.GOARCH}, nginx(12003)},
		{[]string{e2e + "httpd:2.4.39-4"}, harness.ImageConfig{Config: v1.Config{
			Cmd: []string{"sh", "-c", "echo httpd starts; exec httpd -f -p 80 -h /var/www"},
		}}},
		{[]string{e2e + "nonewprivs:1.3"}, harness.ImageConfig{
			Config:   v1.Config{Entrypoint: []string{"/nnp"}},
			Programs: []harness.Program{{From: setuid, To: "/nnp", Mode: 0o4755}},
		}},
		{[]string{"pause:3.9"}, harness.ImageConfig{
			Config:   v1.Config{Entrypoint: []string{"/pause", "-P"}},
			Programs: []harness.Program{{From: "/usr/bin/catatonit", To: "/pause"}},
		}},
		{[]string{staging + "test-image-predefined-group"}, user("1000")},
		{[]string{staging + "test-image-user-uid"}, user("1002")},
		{[]string{staging + "test-image-user-username"}, user("www-data")},
		{[]string{staging + "test-image-user-uid-group"}, user("1003:1004")},
		{[]string{staging + "test-image-user-username-group"}, user("www-data:1004")},
		{[]string{staging + "test-image-tags:1", staging + "test-image-tags:2", staging + "test-image-tags:3"}, marked("tags")},
	}
	for _, name := range []string{"test-image-1", "test-image-2", "test-image-3", "test-image-latest", "test-image-tag:test", "test-image-tag:all"} {
		images = append(images, image{[]string{staging + name}, marked(name)})
	}
	return images
}

func user(name string) harness.ImageConfig {
	return harness.ImageConfig{Config: v1.Config{User: name}}
}

// marked is an image that no other is equal to.
func marked(mark string) harness.ImageConfig {
	return harness.ImageConfig{Files: []harness.File{{Path: "/mark", Text: mark + "\n"}}}
}

// nginx is Debian's, as its own image has it: in the foreground, one worker.
func nginx(port int) harness.ImageConfig {
	conf := fmt.Sprintf("user nobody nobody;\nworker_processes 1;\npid /var/run/nginx.pid;\nerror_log /dev/stderr warn;\n"+
		"events { worker_connections 64; }\nhttp {\n  access_log /dev/stdout;\n"+
		"  server { listen %d; location / { root /usr/share/nginx/html; index index.html; } }\n}\n", port)
	keep := func(dir string) harness.File { return harness.File{Path: dir + "/.keep", Text: "\n"} }
	return harness.ImageConfig{
		Config:   v1.Config{Cmd: []string{"nginx", "-g", "daemon off;"}},
		Programs: []harness.Program{{From: "/usr/sbin/nginx"}},
		Files: []harness.File{
			{Path: "/etc/nginx/nginx.conf", Text: conf},
			{Path: "/usr/share/nginx/html/index.html", Text: "<h1>Welcome to nginx!</h1>\n"},
			keep("/var/run"), keep("/var/lib/nginx"), keep("/var/log/nginx"),
		},
	}
}

// pushImages fills the registry and returns the digest of the image that the
// suite pulls by digest.
func (s *stage) pushImages(ctx context.Context) (string, error) {
	registry := s.registry
	setuid, err := buildSetuid(ctx, s.dir)
	if err != nil {
		return "", err
	}
	base, err := suiteBase(ctx, s.shell)
	if err != nil {
		return "", err
	}
	for _, i := range suiteImages(setuid) {
		img, err := harness.Derive(ctx, base, i.config)
		if err != nil {
			return "", fmt.Errorf("building %s: %w", i.names[0], err)
		}
		for _, name := range i.names {
			if err := registry.Push(ctx, name, img); err != nil {
				return "", err
			}
		}
	}
	img, err := harness.Derive(ctx, base, marked("digest"))
	if err != nil {
		return "", err
	}
	digest, err := img.Digest()
	if err != nil {
		return "", fmt.Errorf("reading an image's digest: %w", err)
	}
	return digest.Hex, registry.Push(ctx, staging+"test-image-digest:none", img)
}

// buildSetuid compiles the program that says what its set-user-ID bit gave it.
func buildSetuid(ctx context.Context, dir string) (string, error) {
	const text = "#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf(\"Effective uid: %d\\n\", geteuid()); return 0; }\n"
	path := filepath.Join(dir, "nnp")
	cmd := exec.CommandContext(ctx, "gcc", "-static", "-O1", "-x", "c", "-", "-o", path)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling the set-user-ID program: %w\n%s", err, out)
	}
	return path, os.Chmod(path, 0o755)
}
