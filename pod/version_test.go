package pod

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/ctr"
)

// What the first release wrote of an object is understood, every field of it, and
// written again as it was.
func TestF34RecordsOfAnOlderRelease(t *testing.T) {
	again := func(file, part string, v any) {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var whole map[string]json.RawMessage
		if err := json.Unmarshal(data, &whole); err != nil {
			t.Fatal(err)
		}
		strict := json.NewDecoder(bytes.NewReader(whole[part]))
		strict.DisallowUnknownFields()
		if err := strict.Decode(v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var was, is any
		if err := json.Unmarshal(whole[part], &was); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &is); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(was, is); diff != "" {
			t.Errorf("%s (-then +now):\n%s", file, diff)
		}
	}
	again("testdata/v1/config.json", "config", &Config{})
	again("testdata/v1/status.json", "status", &Status{})
	again("../ctr/testdata/v1/config.json", "config", &ctr.Config{})
	again("../ctr/testdata/v1/status.json", "status", &ctr.Status{})
}
