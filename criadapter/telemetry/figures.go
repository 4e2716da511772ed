package telemetry

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

// bounds are the upper ends of a histogram's buckets, in seconds.
func bounds() []float64 {
	return []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}
}

// figures count calls.
type figures struct {
	bounds []float64

	mu   sync.Mutex
	rpcs map[string]*rpc
}

// rpc is what is counted of one RPC.
type rpc struct {
	flying  int
	codes   map[codes.Code]uint64
	buckets []uint64 // calls in each bucket alone; one more for what is above all
	seconds float64
}

func newFigures() *figures { return &figures{bounds: bounds(), rpcs: map[string]*rpc{}} }

func (f *figures) begin(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.rpcs[name]
	if r == nil {
		r = &rpc{codes: map[codes.Code]uint64{}, buckets: make([]uint64, len(f.bounds)+1)}
		f.rpcs[name] = r
	}
	r.flying++
}

// end counts a call that has begun; one whose time tells nothing took less than
// none.
func (f *figures) end(name string, code codes.Code, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.rpcs[name]
	r.flying--
	r.codes[code]++
	if took < 0 {
		return
	}
	at, _ := slices.BinarySearch(f.bounds, took.Seconds())
	r.buckets[at]++
	r.seconds += took.Seconds()
}

func (f *figures) write(t *text) {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := slices.Sorted(maps.Keys(f.rpcs))
	t.family("davit_cri_calls_total", "counter", "Calls that have ended, by RPC and gRPC code.")
	for _, name := range names {
		for _, code := range slices.Sorted(maps.Keys(f.rpcs[name].codes)) {
			t.sample("davit_cri_calls_total", float64(f.rpcs[name].codes[code]), "rpc", name, "code", code.String())
		}
	}
	t.family("davit_cri_calls_in_flight", "gauge", "Calls under way by RPC, streams included.")
	for _, name := range names {
		t.sample("davit_cri_calls_in_flight", float64(f.rpcs[name].flying), "rpc", name)
	}
	t.family("davit_cri_event_readers", "gauge", "Clients that read the stream of container events.")
	t.sample("davit_cri_event_readers", float64(f.flying("GetContainerEvents")))
	f.writeTimes(t, names)
	f.writePulls(t)
}

func (f *figures) writeTimes(t *text, names []string) {
	const name = "davit_cri_call_duration_seconds"
	t.family(name, "histogram", "How long calls took by RPC, streams apart.")
	for _, rpc := range names {
		r := f.rpcs[rpc]
		sum := uint64(0)
		for i, n := range r.buckets {
			sum += n
			le := "+Inf"
			if i < len(f.bounds) {
				le = strconv.FormatFloat(f.bounds[i], 'g', -1, 64)
			}
			t.sample(name+"_bucket", float64(sum), "rpc", rpc, "le", le)
		}
		t.sample(name+"_sum", r.seconds, "rpc", rpc)
		t.sample(name+"_count", float64(sum), "rpc", rpc)
	}
}

// writePulls writes what is known of the pulls that the CRI has asked for.
func (f *figures) writePulls(t *text) {
	done, failed := uint64(0), uint64(0)
	if r := f.rpcs["PullImage"]; r != nil {
		for code, n := range r.codes {
			if code == codes.OK {
				done += n
			} else {
				failed += n
			}
		}
	}
	t.family("davit_image_pulls_total", "counter", "Pulls of images that the CRI asked for, by their end.")
	t.sample("davit_image_pulls_total", float64(done), "result", "pulled")
	t.sample("davit_image_pulls_total", float64(failed), "result", "failed")
	t.family("davit_image_pulls_in_flight", "gauge", "Pulls of images under way.")
	t.sample("davit_image_pulls_in_flight", float64(f.flying("PullImage")))
}

func (f *figures) flying(name string) int {
	if r := f.rpcs[name]; r != nil {
		return r.flying
	}
	return 0
}

// writeCounts writes containers and sandboxes by state.
func writeCounts(t *text, counts []Count) {
	slices.SortFunc(counts, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.State, b.State))
	})
	kind := ""
	for _, c := range counts {
		if c.Kind != kind {
			kind = c.Kind
			t.family("davit_"+kind, "gauge", "How many "+kind+" there are, by owner and state.")
		}
		t.sample("davit_"+kind, float64(c.N), "owner", c.Owner, "state", c.State)
	}
}

func writeBuild(t *text, version string) {
	t.family("davit_build_info", "gauge", "The version of davit; always 1.")
	t.sample("davit_build_info", 1, "version", version, "goversion", runtime.Version())
}
