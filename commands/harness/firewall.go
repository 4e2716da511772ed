package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"regexp"
	"strings"
)

// firewallLines lists nftables' rule set and the rules of both iptables, one
// line an object, without handles and counters.
func firewallLines(ctx context.Context) []string {
	out := nftLines(ctx)
	counters := regexp.MustCompile(`\[\d+:\d+\]`)
	for _, tool := range []string{"iptables-save", "ip6tables-save"} {
		for line := range strings.Lines(string(output(ctx, tool))) {
			line = strings.TrimSpace(counters.ReplaceAllString(line, ""))
			// A built-in chain or an empty table is what looking at it leaves.
			if !strings.HasPrefix(line, "-A") && !strings.HasPrefix(line, ":") {
				continue
			}
			if f := strings.Fields(line); strings.HasPrefix(line, ":") && len(f) > 1 && f[1] != "-" {
				continue
			}
			out = append(out, strings.TrimSuffix(tool, "-save")+" "+line)
		}
	}
	return out
}

// nftLines turns `nft -j list ruleset` into lines; each element of a set or a
// map becomes one of its own.
func nftLines(ctx context.Context) []string {
	var ruleset struct {
		Nftables []map[string]map[string]any
	}
	if json.Unmarshal(output(ctx, "nft", "-j", "list", "ruleset"), &ruleset) != nil {
		return nil
	}
	var out []string
	for _, object := range ruleset.Nftables {
		for kind, fields := range object {
			if kind == "metainfo" || builtIn(fields) {
				continue
			}
			elements, _ := fields["elem"].([]any)
			delete(fields, "elem")
			name := kind + " " + compact(fields)
			out = append(out, "nft "+name)
			for _, e := range elements {
				out = append(out, "nft element of "+name+": "+compact(e))
			}
		}
	}
	return out
}

// builtIn reports whether an nft object belongs to the tables that the
// iptables-nft tools make by looking; their rules are listed by iptables-save.
func builtIn(fields map[string]any) bool {
	family, _ := fields["family"].(string)
	table, _ := fields["table"].(string)
	if table == "" {
		table, _ = fields["name"].(string)
	}
	if family != "ip" && family != "ip6" {
		return false
	}
	switch table {
	case "filter", "nat", "mangle", "raw", "security":
		return true
	}
	return false
}

// compact renders a value without what changes by itself.
func compact(v any) string {
	scrub(v)
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return strings.TrimSpace(b.String())
}

func scrub(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range []string{"handle", "packets", "bytes"} {
			delete(v, k)
		}
		for _, inner := range v {
			scrub(inner)
		}
	case []any:
		for _, inner := range v {
			scrub(inner)
		}
	}
}

// output runs a program and returns what it printed, nothing when it is not
// installed or fails.
func output(ctx context.Context, name string, args ...string) []byte {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return nil
	}
	return out
}
