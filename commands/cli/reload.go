package cli

import (
	"reflect"
	"strings"
)

// Reload reads the configuration again and puts into effect what can change while
// the process lives: the log's level and the OCI runtimes. It returns the keys
// whose new values hold from now on, and those that a restart would change. On an
// error everything stays as it was.
func (e *Env) Reload() (applied, pending []string, err error) {
	old, err := e.Config()
	if err != nil {
		return nil, nil, err
	}
	c, err := LoadConfig(Sources{File: DefaultConfigFile, Environ: e.Environ, Flags: e.Flags})
	if err != nil {
		return nil, nil, err
	}
	was := map[string]any{}
	for _, s := range old.Settings() {
		was[s.Key] = s.Value
	}
	differs := func(key string, value any) {
		if reloadable(key) {
			applied = append(applied, key)
		} else if !reflect.DeepEqual(was[key], value) {
			pending = append(pending, key)
		}
	}
	for _, s := range c.Settings() {
		if !reflect.DeepEqual(was[s.Key], s.Value) {
			differs(s.Key, s.Value)
		}
		delete(was, s.Key)
	}
	for key := range was { // a runtime that is not configured any more
		differs(key, nil)
	}
	next := *old
	next.LogLevel, next.Runtimes, next.Engine.Runtime = c.LogLevel, c.Runtimes, c.Engine.Runtime
	e.Log()
	e.level.Set(next.slogLevel())
	e.config = &next
	e.engine.live.Store(&next)
	return applied, pending, nil
}

func reloadable(key string) bool {
	return key == "log_level" || key == "engine.runtime" || strings.HasPrefix(key, "runtimes.")
}
