package rootfs

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// Passwd returns what /etc/passwd of the container has to be for u to have an
// entry there: the image's content and one line more. needed is false if u has
// one, or if the image has no /etc/passwd at all, and then there is nothing to
// do. The entry is named by u's number, as podman's is. ErrInvalidArgument if
// home, which goes into the line, cannot be in one.
func Passwd(root string, u User, home string) (content []byte, needed bool, err error) {
	if home == "" {
		home = "/"
	}
	if home[0] != '/' || strings.ContainsAny(home, ":\r\n") || printable(home) == "" {
		return nil, false, fmt.Errorf("home directory %q cannot be in /etc/passwd: %w", home, errdefs.ErrInvalidArgument)
	}
	db, err := readDatabase(root)
	if err != nil {
		return nil, false, err
	}
	for _, entry := range db.users {
		if entry.Uid == int(u.UID) {
			return nil, false, nil
		}
	}
	return withLine(root, "/etc/passwd", fmt.Sprintf("%d:*:%d:%d:container user:%s:/bin/sh\n", u.UID, u.UID, u.GID, home))
}

// Group returns what /etc/group of the container has to be for gid to have an
// entry there, by the rules of [Passwd].
func Group(root string, gid uint32) (content []byte, needed bool, err error) {
	db, err := readDatabase(root)
	if err != nil {
		return nil, false, err
	}
	for _, entry := range db.groups {
		if entry.Gid == int(gid) {
			return nil, false, nil
		}
	}
	return withLine(root, "/etc/group", fmt.Sprintf("%d:x:%d:\n", gid, gid))
}

func withLine(root, name, line string) ([]byte, bool, error) {
	content, err := ReadRegular(root, name, databaseLimit)
	if errdefs.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if len(content) > 0 && content[len(content)-1] != '\n' {
		content = append(content, '\n')
	}
	return append(content, line...), true, nil
}
