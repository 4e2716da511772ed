package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/user"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\n" +
		"app:x:1000:1000:App:/home/app:/bin/sh\n" +
		"other:x:1001:50:Other::/bin/sh\n" +
		"newline:x:1002:50:N:relative:/bin/sh\n" +
		"wrap:x:4294967296:0::/:\n" +
		"minus:x:-1:0::/:\n" +
		"1000:x:7:7:a number as a name:/seven:/bin/sh\n" +
		"control:x:1003:50::/ho\x01me:/bin/sh\n"
	group = "root:x:0:\napp:x:1000:\nstaff:x:50:app,other\nwheel:x:10:app\nhuge:x:2147483648:app\n20:x:99:\n"
)

func TestResolveUser(t *testing.T) {
	c := newCanary(t)
	c.write("etc/passwd", passwd)
	c.write("etc/group", group)
	tests := []struct {
		ref    string
		groups []string
		policy GroupPolicy
		want   User
		class  string
	}{
		{ref: "app:20", policy: GroupsMerge, groups: []string{"7"}, want: User{UID: 1000, GID: 20, AdditionalGIDs: []uint32{50, 10, 7}, Name: "app", Home: "/home/app"}},
		{ref: "1000", policy: GroupsMerge, want: User{UID: 1000, GID: 1000, AdditionalGIDs: []uint32{50, 10}, Name: "app", Home: "/home/app"}},
		{ref: "app", policy: GroupsStrict, groups: []string{"7"}, want: User{UID: 1000, GID: 1000, AdditionalGIDs: []uint32{7}, Name: "app", Home: "/home/app"}},
		{ref: "app:20", policy: GroupsStrict, want: User{UID: 1000, GID: 20, Name: "app", Home: "/home/app"}},
		{ref: "", want: User{Name: "root", Home: "/root"}},
		{ref: "root", want: User{Name: "root", Home: "/root"}},
		{ref: "app", want: User{UID: 1000, GID: 1000, AdditionalGIDs: []uint32{50, 10}, Name: "app", Home: "/home/app"}},
		{ref: "1000", want: User{UID: 1000, GID: 1000, AdditionalGIDs: []uint32{50, 10}, Name: "app", Home: "/home/app"}},
		{ref: "app:wheel", want: User{UID: 1000, GID: 10, Name: "app", Home: "/home/app"}},
		{ref: "app:20", want: User{UID: 1000, GID: 20, Name: "app", Home: "/home/app"}},
		{ref: "5555", want: User{UID: 5555, Home: "/"}},
		{ref: "5555:staff", want: User{UID: 5555, GID: 50, Home: "/"}},
		{ref: "2147483647:2147483647", want: User{UID: 2147483647, GID: 2147483647, Home: "/"}},
		{ref: ":10", want: User{GID: 10, Name: "root", Home: "/root"}},
		{ref: "other", groups: []string{"wheel", "4444", "50", "wheel"}, want: User{UID: 1001, GID: 50, AdditionalGIDs: []uint32{50, 10, 4444}, Name: "other", Home: "/"}},
		{ref: "newline", want: User{UID: 1002, GID: 50, Name: "newline", Home: "/"}},
		{ref: "control", want: User{UID: 1003, GID: 50, Name: "control", Home: "/"}},
		{ref: "nobody", class: "not found"},
		{ref: "app:nobody", class: "not found"},
		{ref: "app", groups: []string{"nobody"}, class: "not found"},
		{ref: "app:", class: "invalid"},
		{ref: "2147483648", class: "invalid"},
		{ref: "4294967296", class: "invalid"}, // 0 in 32 bits
		{ref: "18446744073709551616", class: "invalid"},
		{ref: "-1", class: "invalid"},
		{ref: "+1", class: "invalid"},
		{ref: "0:4294967296", class: "invalid"},
		{ref: "wrap", class: "invalid"},
		{ref: "minus", class: "invalid"},
		{ref: "app:huge", class: "invalid"},
		{ref: "app", groups: []string{"2147483648"}, class: "invalid"},
	}
	for _, test := range tests {
		t.Run(test.ref, func(t *testing.T) {
			got, err := ResolveUser(c.root, test.ref, test.groups, test.policy)
			if class(err) != test.class {
				t.Fatalf("error %v, want class %q", err, test.class)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
		})
	}
	_, err := ResolveUser(c.root, "nobody", nil, "")
	if want := `user "nobody" is not in the container's /etc/passwd: not found`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestResolveUserHostile: S5 and S12, databases that are not what they should.
func TestResolveUserHostile(t *testing.T) {
	tests := []struct {
		name  string
		make  func(*canary)
		ref   string
		want  User
		class string
	}{
		{"no databases", func(*canary) {}, "7", User{UID: 7, Home: "/"}, ""},
		{"no databases, a name", func(*canary) {}, "root", User{}, "not found"},
		{"link to the host", func(c *canary) { c.link(filepath.Join(c.host, "secret"), "etc/passwd") }, "root", User{}, "not found"},
		{"link upwards", func(c *canary) { c.link("../../etc/passwd", "etc/passwd") }, "0", User{Home: "/"}, ""},
		{"etc is a link", func(c *canary) {
			c.check(os.Remove(filepath.Join(c.root, "etc")))
			c.link("../etc", "etc")
		}, "0", User{Home: "/"}, ""},
		{"link within", func(c *canary) {
			c.write("usr/etc/passwd", passwd)
			c.link("/usr/etc/passwd", "etc/passwd")
		}, "app", User{UID: 1000, GID: 1000, Name: "app", Home: "/home/app"}, ""},
		{"fifo", func(c *canary) { c.fifo("etc/passwd") }, "0", User{}, "invalid"},
		{"link to a fifo", func(c *canary) {
			c.fifo("fifo")
			c.link("/fifo", "etc/group")
		}, "0", User{}, "invalid"},
		{"directory", func(c *canary) { c.dir("etc/passwd") }, "0", User{}, "invalid"},
		{"too large", func(c *canary) {
			c.write("etc/passwd", "")
			c.check(os.Truncate(filepath.Join(c.root, "etc/passwd"), 1<<40))
		}, "0", User{}, "invalid"},
		{"one long line", func(c *canary) { c.write("etc/passwd", strings.Repeat("x", 1<<20)) }, "0", User{}, "invalid"},
		{"garbage", func(c *canary) { c.write("etc/passwd", ":::\n\x00\x01\nroot\nroot:x\n") }, "9", User{UID: 9, Home: "/"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newCanary(t)
			test.make(c)
			done := make(chan struct{})
			go func() {
				defer close(done)
				got, err := ResolveUser(c.root, test.ref, nil, "")
				if class(err) != test.class {
					t.Errorf("error %v, want class %q", err, test.class)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("blocked")
			}
		})
	}
}

func TestPasswd(t *testing.T) {
	c := newCanary(t)
	if _, needed, err := Passwd(c.root, User{UID: 5}, "/"); needed || err != nil {
		t.Errorf("an image without /etc/passwd: %v, %v", needed, err)
	}
	c.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh")
	c.write("etc/group", "")
	if _, needed, err := Passwd(c.root, User{}, "/"); needed || err != nil {
		t.Errorf("a user with an entry: %v, %v", needed, err)
	}
	got, needed, err := Passwd(c.root, User{UID: 5, GID: 6}, "/srv")
	want := "root:x:0:0:root:/root:/bin/sh\n5:*:5:6:container user:/srv:/bin/sh\n"
	if !needed || err != nil || string(got) != want {
		t.Errorf("%v, %v:\n%s", needed, err, got)
	}
	got, needed, err = Group(c.root, 6)
	if !needed || err != nil || string(got) != "6:x:6:\n" {
		t.Errorf("%v, %v:\n%s", needed, err, got)
	}
	c.write("etc/group", group)
	if _, needed, err := Group(c.root, 50); needed || err != nil {
		t.Errorf("a group with an entry: %v, %v", needed, err)
	}
	// CVE-2022-4318: a line of one's own.
	for _, home := range []string{"/x\nroot2::0:0::/:/bin/sh", "/x:0:", "relative", "/x\rroot", "/\x7f"} {
		if _, needed, err := Passwd(c.root, User{UID: 5}, home); needed || class(err) != "invalid" {
			t.Errorf("home %q: %v, %v", home, needed, err)
		}
	}
}

// FuzzResolveUser: no database and no reference makes a user out of range, or
// a home that is not one line; the entry that is written reads as one more.
func FuzzResolveUser(f *testing.F) {
	f.Add(passwd, group, "app:staff", "wheel")
	f.Add("a:x:1:2::/\n", "", "a", "3")
	f.Fuzz(func(t *testing.T, passwd, group, ref, extra string) {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string]string{"passwd": passwd, "group": group} {
			if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		u, err := ResolveUser(root, ref, []string{extra}, "")
		if err != nil {
			return
		}
		for _, id := range append([]uint32{u.UID, u.GID}, u.AdditionalGIDs...) {
			if id > 1<<31-1 {
				t.Errorf("id %d", id)
			}
		}
		if u.Home == "" || u.Home[0] != '/' || strings.ContainsAny(u.Home+u.Name, "\n\r\x00") {
			t.Errorf("home %q, name %q", u.Home, u.Name)
		}
		content, needed, err := Passwd(root, u, u.Home)
		if err != nil || !needed {
			return
		}
		before, err := user.ParsePasswd(strings.NewReader(passwd))
		if err != nil {
			return
		}
		after, err := user.ParsePasswd(strings.NewReader(string(content)))
		if err != nil {
			t.Fatal(err)
		}
		if len(after) != len(before)+1 {
			t.Errorf("%d entries became %d", len(before), len(after))
		}
		if last := after[len(after)-1]; last.Name != fmt.Sprint(u.UID) || last.Uid != int(u.UID) || last.Gid != int(u.GID) {
			t.Errorf("the entry reads as %+v", last)
		}
	})
}
