package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseReport(t *testing.T) {
	const text = `[{"SpecReports":[
		{"LeafNodeType":"BeforeSuite","State":"passed"},
		{"ContainerHierarchyTexts":["[k8s.io] Pod","basic"],"LeafNodeType":"It","LeafNodeText":"runs","State":"passed"},
		{"ContainerHierarchyTexts":["a"],"LeafNodeType":"It","LeafNodeText":"out of focus","State":"skipped"},
		{"ContainerHierarchyTexts":["a"],"LeafNodeType":"It","LeafNodeText":"cannot","State":"skipped","Failure":{"Message":"no X here"}},
		{"ContainerHierarchyTexts":["a"],"LeafNodeType":"It","LeafNodeText":"fails","State":"failed","Failure":{"Message":"boom"}},
		{"LeafNodeType":"AfterSuite","State":"panicked","Failure":{"Message":"late"}}]}]`
	got, err := parseReport([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []spec{
		{name: "[k8s.io] Pod basic runs", state: "passed"},
		{name: "a cannot", state: "skipped", message: "no X here"},
		{name: "a fails", state: "failed", message: "boom"},
		{name: "AfterSuite", state: "panicked", message: "late"},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(spec{})); d != "" {
		t.Error(d)
	}
}

func TestJudge(t *testing.T) {
	allowed := []allowedSkip{{`AppArmor`, "no AppArmor"}}
	pass, skip := spec{name: "one", state: "passed"}, spec{name: "AppArmor two", state: "skipped", message: "off"}
	tests := []struct {
		name  string
		specs []spec
		want  string // part of the error
	}{
		{"all well", []spec{pass, skip}, ""},
		{"a failure", []spec{pass, {name: "x", state: "failed"}}, "1 specs failed"},
		{"what ginkgo may call it else", []spec{pass, {name: "x", state: "timedout"}}, "1 specs failed"},
		{"a skip that is not allowed", []spec{pass, {name: "x", state: "skipped", message: "y"}}, "1 were skipped"},
		{"nothing but skips", []spec{skip}, "no spec ran"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := judge(tt.specs, allowed).err()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if s := judge([]spec{pass, skip, {name: "x", state: "failed", message: "why\nnot"}}, allowed).String(); !strings.Contains(s, "no AppArmor") || !strings.Contains(s, "x\n    why not") {
		t.Errorf("the summary lacks something:\n%s", s)
	}
}

func TestMerge(t *testing.T) {
	skipped, passed, failed := spec{name: "a", state: "skipped"}, spec{name: "a", state: "passed"}, spec{name: "a", state: "failed"}
	for _, tt := range []struct {
		name               string
		first, later, want spec
	}{
		{"a skip is made good", skipped, passed, passed},
		{"a failure is not", failed, passed, failed},
		{"a pass is spoilt by a failure", passed, failed, failed},
		{"a pass is not by a skip", passed, skipped, passed},
	} {
		if d := cmp.Diff([]spec{tt.want}, merge([]spec{tt.first}, []spec{tt.later}), cmp.AllowUnexported(spec{})); d != "" {
			t.Errorf("%s:\n%s", tt.name, d)
		}
	}
}
