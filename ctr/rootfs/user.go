package rootfs

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/user"
)

// databaseLimit is the size up to which an image's passwd and group are read.
const databaseLimit = 1 << 20

// User is who a reference means within one root filesystem.
type User struct {
	UID, GID uint32
	// AdditionalGIDs are the groups that list the user, and those asked for,
	// without duplicates; the primary group is not added.
	AdditionalGIDs []uint32
	Name           string // "" for a number without an entry
	Home           string // "/" for a number without an entry; without control characters
}

// GroupPolicy says which supplementary groups a user has beside those asked for.
type GroupPolicy string

const (
	// GroupsOfName are those that list the user, unless a group is given with it:
	// as docker and podman have it.
	GroupsOfName GroupPolicy = ""
	// GroupsMerge are those that list the user, always.
	GroupsMerge GroupPolicy = "merge"
	// GroupsStrict are none.
	GroupsStrict GroupPolicy = "strict"
)

// ResolveUser finds the user "user[:group]", names or numbers, in the root's
// /etc/passwd and /etc/group, and the supplementary groups, names or numbers.
// An empty reference is root. A number needs no entry.
//
// An unknown name: ErrNotFound. A number outside of 0 to 2147483647, or a
// database that is not a regular file of at most 1 MiB: ErrInvalidArgument. An
// absent database is an empty one.
func ResolveUser(root, ref string, groups []string, policy GroupPolicy) (User, error) {
	db, err := readDatabase(root)
	if err != nil {
		return User{}, err
	}
	return db.resolve(ref, groups, policy)
}

// database is the content of passwd and group.
type database struct {
	users  []user.User
	groups []user.Group
}

func readDatabase(root string) (database, error) {
	var db database
	passwd, err := readOptional(root, "/etc/passwd")
	if err != nil {
		return db, err
	}
	group, err := readOptional(root, "/etc/group")
	if err != nil {
		return db, err
	}
	if db.users, err = user.ParsePasswd(bytes.NewReader(passwd)); err != nil {
		return db, fmt.Errorf("reading /etc/passwd of the container: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if db.groups, err = user.ParseGroup(bytes.NewReader(group)); err != nil {
		return db, fmt.Errorf("reading /etc/group of the container: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return db, nil
}

func readOptional(root, name string) ([]byte, error) {
	data, err := ReadRegular(root, name, databaseLimit)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	return data, err
}

func (db database) resolve(ref string, groups []string, policy GroupPolicy) (User, error) {
	name, group, grouped := strings.Cut(ref, ":")
	if grouped && group == "" {
		return User{}, fmt.Errorf("user %q has an empty group: %w", ref, errdefs.ErrInvalidArgument)
	}
	if name == "" {
		name = "0"
	}
	u, err := db.user(name)
	if err != nil {
		return User{}, err
	}
	seen := make(map[uint32]bool)
	add := func(gid uint32) {
		if !seen[gid] {
			seen[gid] = true
			u.AdditionalGIDs = append(u.AdditionalGIDs, gid)
		}
	}
	if grouped {
		if u.GID, err = db.group(group); err != nil {
			return User{}, err
		}
	}
	if policy == GroupsMerge || policy == GroupsOfName && !grouped {
		for _, gid := range db.groupsOf(u.Name) {
			add(gid)
		}
	}
	for _, g := range groups {
		gid, err := db.group(g)
		if err != nil {
			return User{}, err
		}
		add(gid)
	}
	return u, nil
}

// groupsOf are the groups that list a user.
func (db database) groupsOf(name string) []uint32 {
	var out []uint32
	for _, g := range db.groups {
		if name != "" && slices.Contains(g.List, name) && validID(int64(g.Gid)) {
			out = append(out, uint32(g.Gid))
		}
	}
	return out
}

// user finds by number when the name is one, whatever names there are.
func (db database) user(name string) (User, error) {
	id, numeric, err := parseID("user", name)
	if err != nil {
		return User{}, err
	}
	for _, entry := range db.users {
		if numeric && entry.Uid != int(id) || !numeric && entry.Name != name {
			continue
		}
		if !validID(int64(entry.Uid)) || !validID(int64(entry.Gid)) {
			return User{}, fmt.Errorf("user %q has an ID in the container's /etc/passwd that is not between 0 and %d: %w", name, math.MaxInt32, errdefs.ErrInvalidArgument)
		}
		return User{UID: uint32(entry.Uid), GID: uint32(entry.Gid), Name: printable(entry.Name), Home: homeOf(entry)}, nil
	}
	if numeric {
		return User{UID: id, Home: "/"}, nil
	}
	return User{}, fmt.Errorf("user %q is not in the container's /etc/passwd: %w", name, errdefs.ErrNotFound)
}

func (db database) group(name string) (uint32, error) {
	id, numeric, err := parseID("group", name)
	if err != nil || numeric {
		return id, err
	}
	for _, entry := range db.groups {
		if entry.Name != name {
			continue
		}
		if !validID(int64(entry.Gid)) {
			return 0, fmt.Errorf("group %q has an ID in the container's /etc/group that is not between 0 and %d: %w", name, math.MaxInt32, errdefs.ErrInvalidArgument)
		}
		return uint32(entry.Gid), nil
	}
	return 0, fmt.Errorf("group %q is not in the container's /etc/group: %w", name, errdefs.ErrNotFound)
}

// parseID reads a number of 0 to 2^31-1. What is written as a number but is
// not one of these is refused, never looked up as a name nor wrapped to 32
// bits (CVE-2024-40635).
func parseID(what, s string) (id uint32, numeric bool, err error) {
	if s == "" {
		return 0, false, fmt.Errorf("%s name is empty: %w", what, errdefs.ErrInvalidArgument)
	}
	digits := strings.TrimLeft(s, "+-")
	if strings.Trim(digits, "0123456789") != "" || digits == "" {
		return 0, false, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || !validID(n) || digits != s {
		return 0, false, fmt.Errorf("%s %q is not a number between 0 and %d: %w", what, s, math.MaxInt32, errdefs.ErrInvalidArgument)
	}
	return uint32(n), true, nil
}

func validID(n int64) bool { return n >= 0 && n <= math.MaxInt32 }

// homeOf is the home of an entry: an absolute path, fit for a variable and a
// line of passwd (CVE-2022-4318).
func homeOf(entry user.User) string {
	if entry.Home == "" || entry.Home[0] != '/' || printable(entry.Home) == "" {
		return "/"
	}
	return entry.Home
}

// printable returns s, or nothing when it has control characters.
func printable(s string) string {
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return ""
		}
	}
	return s
}
