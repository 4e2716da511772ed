package options

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-containers/davit/commands/cli"
)

func TestIDFile(t *testing.T) {
	dir := t.TempDir()
	read := func(path string) string {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	old := filepath.Join(dir, "old")
	if err := os.WriteFile(old, []byte("the ID of an older one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		file    IDFile
		wantErr string
		left    string // in the file after Write; "" is no file
		undone  string // in the file after Claim and Undo
	}{
		{name: "none", file: IDFile{Flag: "cidfile"}},
		{name: "new", file: IDFile{Flag: "cidfile", Path: filepath.Join(dir, "new"), Fresh: true}, left: "id"},
		{name: "there already", file: IDFile{Flag: "cidfile", Path: old, Fresh: true}, wantErr: `--cidfile: "` + old + `" is there already`, undone: "the ID of an older one"},
		{name: "written again", file: IDFile{Flag: "pod-id-file", Path: old}, left: "id", undone: "the ID of an older one"},
		{name: "new where one may be", file: IDFile{Flag: "pod-id-file", Path: filepath.Join(dir, "new")}, left: "id"},
		{name: "no such folder", file: IDFile{Flag: "pod-id-file", Path: filepath.Join(dir, "no", "such")}, wantErr: "--pod-id-file: "},
		{name: "a folder", file: IDFile{Flag: "pod-id-file", Path: dir}, wantErr: "--pod-id-file: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.file
			err := f.Claim()
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want %q", err, tt.wantErr)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if err := f.Undo(); err != nil {
				t.Error(err)
			}
			switch {
			case tt.undone != "":
				if got := read(f.Path); got != tt.undone {
					t.Errorf("%q is left, want %q", got, tt.undone)
				}
			case tt.wantErr == "" && f.Path != "":
				if _, err := os.Stat(f.Path); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the new file is left: %v", err)
				}
			}
			if tt.wantErr != "" {
				return
			}
			if err := errors.Join(f.Claim(), f.Write("id")); err != nil {
				t.Fatal(err)
			}
			if f.Path != "" && read(f.Path) != tt.left {
				t.Errorf("%q was written", read(f.Path))
			}
			if err := f.Undo(); err != nil {
				t.Error(err)
			}
		})
	}
	if _, hint := cli.Message((&IDFile{Flag: "cidfile", Path: old, Fresh: true}).Claim()); hint == "" {
		t.Error("no hint")
	}
}
