package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// publicDigest is the digest that the suite knows of the one image that it pulls
// by digest. The image is of a public registry and cannot be built again; what
// is pulled here is one built like the others, so the suite is told its digest.
const publicDigest = "9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf"

// patchSuite makes a copy of critest that knows the digest of the image here.
func (s *stage) patchSuite(digest string) error {
	binary, err := os.ReadFile(filepath.Join(s.tools, "critest"))
	if err != nil {
		return fmt.Errorf("reading critest (make test-cri builds it): %w", err)
	}
	if len(digest) != len(publicDigest) || !bytes.Contains(binary, []byte(publicDigest)) {
		return fmt.Errorf("critest does not name the digest %s", publicDigest)
	}
	s.critest = filepath.Join(s.dir, "critest")
	return os.WriteFile(s.critest, bytes.ReplaceAll(binary, []byte(publicDigest), []byte(digest)), 0o755)
}

// pass is one run of the suite.
type pass struct {
	name    string // for its logs
	handler string // runtime handler
	focus   string
}

// runSuite runs the suite with the default handler, and its specs of user
// namespaces again with the handler that has them.
func (s *stage) runSuite(ctx context.Context) error {
	passes := []pass{{name: "critest", focus: s.focus}}
	if s.hasNext() && (s.focus == "" || strings.Contains(s.focus, "UserNamespaces")) {
		passes = append(passes, pass{name: "critest-" + handlerOfNext, handler: handlerOfNext, focus: "UserNamespaces"})
	}
	began := time.Now()
	var all []spec
	var errs []error
	for _, p := range passes {
		specs, err := s.play(ctx, p)
		all = merge(all, specs)
		errs = append(errs, err)
	}
	v := judge(all, s.allowedSkips())
	fmt.Printf("\ncritest with %s, in %.0f s:\n%s", s.runtime, time.Since(began).Seconds(), v)
	return errors.Join(append(errs, v.err())...)
}

// play runs the suite once. That specs fail is told by what it returns, not by
// its error.
func (s *stage) play(ctx context.Context, p pass) ([]spec, error) {
	report := filepath.Join(s.logs, p.name+".json")
	if err := os.Remove(report); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the last report: %w", err)
	}
	log, err := os.Create(filepath.Join(s.logs, p.name+".log"))
	if err != nil {
		return nil, fmt.Errorf("opening the suite's log: %w", err)
	}
	defer log.Close()
	args := []string{
		"-runtime-endpoint=" + s.endpoint(), "-runtime-handler=" + p.handler,
		"-ginkgo.json-report=" + report, "-ginkgo.no-color", "-ginkgo.flake-attempts=0", "-ginkgo.timeout=20m",
	}
	if s.parallel > 1 { // 1 would be taken for go test's flag of that name
		args = append(args, "-parallel="+strconv.Itoa(s.parallel))
	}
	if p.focus != "" {
		args = append(args, "-ginkgo.focus="+p.focus)
	}
	fmt.Printf("critest, %s: running (its output is in %s)\n", p.name, log.Name())
	cmd := exec.CommandContext(ctx, s.critest, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.Env = append(os.Environ(), "PATH="+s.tools+":"+os.Getenv("PATH"), "TMPDIR="+s.temp())
	cmd.WaitDelay = 5 * time.Second
	runErr := cmd.Run()
	specs, err := readReport(report)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("running critest: %w", err), runErr)
	}
	return specs, nil
}

// spec is what became of one of the suite's.
type spec struct {
	name    string
	state   string // passed, skipped, or another, which is a failure
	message string // why it failed or was skipped
}

// readReport reads ginkgo's report. Specs that the focus, or the filter of
// benchmarks, left out are not in the result: they were not skipped by choice of
// their own and have no message.
func readReport(path string) ([]spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading its report: %w", err)
	}
	return parseReport(data)
}

func parseReport(data []byte) ([]spec, error) {
	var reports []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeType            string
			LeafNodeText            string
			State                   string
			Failure                 struct{ Message string }
		}
	}
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, fmt.Errorf("reading its report: %w", err)
	}
	var specs []spec
	for _, r := range reports {
		for _, s := range r.SpecReports {
			sp := spec{name: strings.Join(append(s.ContainerHierarchyTexts, s.LeafNodeText), " "), state: s.State, message: s.Failure.Message}
			if s.LeafNodeType != "It" {
				sp.name = s.LeafNodeType
			}
			leftOut := sp.state == "skipped" && sp.message == ""
			if !leftOut && (s.LeafNodeType == "It" || sp.state != "passed") {
				specs = append(specs, sp)
			}
		}
	}
	return specs, nil
}
