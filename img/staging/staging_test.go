package staging

import (
	"os"
	"path/filepath"
	"testing"
)

// The orders in which a folder and its lock come and go, as real files.
func TestWatch(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []string // + makes, - removes
		want  bool
	}{
		{"nothing", nil, false},
		{"a layer's life", []string{"+lock-1", "+temp-dir-1/", "-temp-dir-1/", "-lock-1"}, false},
		{"two lives", []string{"+lock-1", "+lock-2", "+temp-dir-1/", "-temp-dir-1/", "+temp-dir-2/", "-lock-1"}, false},
		{"lock deleted before its folder is made", []string{"+lock-1", "-lock-1", "+temp-dir-1/"}, true},
		{"lock deleted and made again", []string{"+lock-1", "-lock-1", "+lock-1", "+temp-dir-1/"}, false},
		{"lock deleted beside its folder", []string{"+lock-1", "+temp-dir-1/", "-lock-1"}, true},
		{"a dead one's, cleared away", []string{"+lock-1", "-lock-1"}, false},
		{"something else", []string{"+file", "-file"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tmp")
			w, err := Begin(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range tt.steps {
				path := filepath.Join(dir, s[1:])
				switch {
				case s[0] == '-':
					err = os.Remove(path)
				case s[len(s)-1] == '/':
					err = os.Mkdir(path, 0o700)
				default:
					err = os.WriteFile(path, nil, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got, err := w.End(); got != tt.want || err != nil {
				t.Errorf("unguarded %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

// An owner that began before the watch is not taken for one without a guard.
func TestWatchBeginsInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"lock-1", "lock-2"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w, err := Begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "temp-dir-1"), 0o700), os.Remove(filepath.Join(dir, "temp-dir-1")),
		os.Remove(filepath.Join(dir, "lock-1")), os.Remove(filepath.Join(dir, "lock-2")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, err := w.End(); got || err != nil {
		t.Errorf("unguarded %v, %v", got, err)
	}
}
