package img

import (
	"context"
	"io"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// divertLibraryLog sends to log what the libraries write to logrus, which
// otherwise goes to standard error. It is the one piece of global state that
// they leave no way around; the last store opened has it.
func divertLibraryLog(ctx context.Context, log *slog.Logger) {
	std := logrus.StandardLogger()
	std.SetOutput(io.Discard)
	std.ReplaceHooks(logrus.LevelHooks{})
	if !log.Enabled(ctx, slog.LevelDebug) {
		std.SetLevel(logrus.PanicLevel)
		return
	}
	std.SetLevel(logrus.DebugLevel)
	std.AddHook(logDiversion{log})
}

type logDiversion struct{ log *slog.Logger }

var _ logrus.Hook = logDiversion{}

// Levels are all of them.
func (logDiversion) Levels() []logrus.Level { return logrus.AllLevels }

// Fire hands one entry on. What the libraries call errors comes back to davit
// as an error as well, so that all of it is for debugging only.
func (d logDiversion) Fire(e *logrus.Entry) error {
	d.log.Debug(e.Message, "from", "containers", "level", e.Level.String())
	return nil
}
