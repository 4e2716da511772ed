package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/davit-containers/davit/ctr/record"
)

// traceEnv is the variable that has a command print what it took.
const traceEnv = "DAVIT_TRACE"

// WithTrace returns a context whose operations and spans are printed on standard error
// by Close, if DAVIT_TRACE is 1: when each began, counted from now, and how long it
// took, in milliseconds. They overlap where work is done at the same time.
func WithTrace(ctx context.Context, e *Env) context.Context {
	if e.Getenv(traceEnv) != "1" {
		return ctx
	}
	begun, t := e.Now(), record.NewTimeline(e.Now)
	e.OnClose(func() error {
		table := tabwriter.NewWriter(e.Err, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(table, "MS\tTOOK\t  WHAT\n0.0\t%s\t  all of it\n", ms(t.Close().Sub(begun)))
		for _, s := range t.Stages() {
			fmt.Fprintf(table, "%s\t%s\t  %s\n", ms(s.Begin.Sub(begun)), ms(s.End.Sub(s.Begin)), s.Name)
		}
		return table.Flush()
	})
	return t.Follow(ctx)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }
