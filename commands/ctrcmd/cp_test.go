package ctrcmd

import (
	"io/fs"
	"testing"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr/archive"
)

func TestParsePlace(t *testing.T) {
	for text, want := range map[string]placeOf{
		"web:/etc/hosts": {container: "web", path: "/etc/hosts"},
		"web:":           {container: "web"},
		"web:a:b":        {container: "web", path: "a:b"},
		"/tmp/a:b":       {path: "/tmp/a:b"},
		"./web:x":        {path: "./web:x"},
		"plain":          {path: "plain"},
		"-":              {path: "-"},
		":x":             {path: ":x"},
	} {
		if got := parsePlace(text); got != want {
			t.Errorf("%q = %+v", text, got)
		}
	}
}

func TestCheckCopy(t *testing.T) {
	env := cli.NewEnv(cli.Streams{}, nil)
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{"web:/a", "b", true}, {"a", "web:/b", true}, {"web:/a", "db:/b", true}, {"-", "web:/b", true}, {"web:/a", "-", true},
		{"a", "b", false}, {"web:", "b", false}, {"a", "web:", false},
	} {
		if err := checkCopy(env, parsePlace(tt.from), parsePlace(tt.to)); (err == nil) != tt.ok {
			t.Errorf("%s → %s: %v", tt.from, tt.to, err)
		}
	}
}

func TestDestination(t *testing.T) {
	file := func(p string) end {
		return end{path: p, typed: p, found: true, info: archive.Info{Path: p, Mode: 0o644}}
	}
	folder := func(p string) end {
		return end{path: p, typed: p, found: true, info: archive.Info{Path: p, Mode: fs.ModeDir | 0o755}}
	}
	nothing := func(p string) end { return end{path: p, typed: p} }
	link := file("/to/link")
	link.info.Path = "/elsewhere/real"
	tests := []struct {
		name           string
		source, target end
		folder, as     string
		bad            bool
	}{
		{name: "file into a folder", source: file("/a/f"), target: folder("/to"), folder: "/to", as: "f"},
		{name: "file to a new name", source: file("/a/f"), target: nothing("/to/g"), folder: "/to", as: "g"},
		{name: "file over a file", source: file("/a/f"), target: file("/to/g"), folder: "/to", as: "g"},
		{name: "file over a link", source: file("/a/f"), target: link, folder: "/elsewhere", as: "real"},
		{name: "file into a folder that is not there", source: file("/a/f"), target: nothing("/to/"), bad: true},
		{name: "folder into a folder", source: folder("/a/d"), target: folder("/to"), folder: "/to", as: "d"},
		{name: "folder's content into a folder", source: folder("/a/d/."), target: folder("/to"), folder: "/to", as: "."},
		{name: "folder to a new name", source: folder("/a/d"), target: nothing("/to/e/"), folder: "/to", as: "e"},
		{name: "folder's content to a new name", source: folder("/a/d/."), target: nothing("/to/e"), folder: "/to", as: "e"},
		{name: "folder over a file", source: folder("/a/d"), target: file("/to/g"), bad: true},
		{name: "nothing", source: nothing("/a/f"), target: folder("/to"), bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			folder, as, err := destination(tt.source, tt.target, false)
			if (err != nil) != tt.bad || folder != tt.folder || as != tt.as {
				t.Errorf("= %q, %q, %v", folder, as, err)
			}
		})
	}
}
