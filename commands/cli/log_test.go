package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
)

func TestLogHandler(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(newLogHandler(&b, slog.LevelWarn))
	log.Info("not shown")
	log.Warn("limits lowered", "limit", "nofile", "to", 20000)
	log.With("container", "web").Error("broken\nline", "error", errors.New("x"))
	want := "Warning: limits lowered (limit: nofile, to: 20000)\nError: broken; line (container: web, error: x)\n"
	if b.String() != want {
		t.Errorf("wrote %q, want %q", b.String(), want)
	}
}
