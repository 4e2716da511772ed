package ctr

import (
	"testing"
	"time"
)

func TestRestartDue(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ran := func(d time.Duration, code int) Status {
		return Status{State: Stopped, StartedAt: now.Add(-d), FinishedAt: now, ExitCode: code, CodeKnown: true}
	}
	with := func(s Status, f func(*Status)) Status { f(&s); return s }
	always, failure := Restart{Policy: RestartAlways}, Restart{Policy: RestartOnFailure}
	for _, tt := range []struct {
		name   string
		policy Restart
		s      Status
		after  time.Duration // since it has ended
		want   time.Duration // -1 is not at all
	}{
		{name: "no policy", s: ran(time.Second, 1), want: -1},
		{name: "no", policy: Restart{Policy: RestartNo}, s: ran(time.Second, 1), want: -1},
		{name: "always", policy: always, s: ran(time.Second, 0), want: 100 * time.Millisecond},
		{name: "unless-stopped", policy: Restart{Policy: RestartUnlessStopped}, s: ran(time.Second, 0), want: 100 * time.Millisecond},
		{name: "it runs", policy: always, s: Status{State: Running}, want: -1},
		{name: "never started", policy: always, s: Status{State: Created}, want: -1},
		{name: "being removed", policy: always, s: Status{State: Removing}, want: -1},
		{name: "success", policy: failure, s: ran(time.Second, 0), want: -1},
		{name: "failure", policy: failure, s: ran(time.Second, 3), want: 100 * time.Millisecond},
		{name: "nobody saw it end", policy: failure, s: with(ran(time.Second, 0), func(s *Status) { s.CodeKnown = false }), want: 100 * time.Millisecond},
		{name: "tries are left", policy: Restart{Policy: RestartOnFailure, Retries: 2}, s: with(ran(time.Second, 1), func(s *Status) { s.Again.Count = 1 }), want: 100 * time.Millisecond},
		{name: "no tries are left", policy: Restart{Policy: RestartOnFailure, Retries: 2}, s: with(ran(time.Second, 1), func(s *Status) { s.Again.Count = 2 }), want: -1},
		{name: "stopped by a user", policy: always, s: with(ran(time.Second, 1), func(s *Status) { s.StoppedByUser = true }), want: -1},
		{name: "the machine was restarted", policy: always, s: with(ran(time.Second, 1), func(s *Status) { s.Rebooted = true }), want: -1},
		{name: "updated", policy: always, s: with(ran(time.Second, 1), func(s *Status) { s.Restart = &Restart{Policy: RestartNo} }), want: -1},
		{name: "part of the wait is over", policy: always, s: ran(time.Second, 1), after: 70 * time.Millisecond, want: 30 * time.Millisecond},
		{name: "all of it", policy: always, s: ran(time.Second, 1), after: time.Hour, want: 0},
		{name: "the clock was put back", policy: always, s: ran(time.Second, 1), after: -time.Hour, want: 100 * time.Millisecond},
		{name: "fourth time", policy: always, s: with(ran(time.Second, 1), func(s *Status) { s.Again.Quick = 3 }), want: 800 * time.Millisecond},
		{name: "hundredth time", policy: always, s: with(ran(time.Second, 1), func(s *Status) { s.Again.Quick = 99 }), want: time.Minute},
		{name: "it ran for long", policy: always, s: with(ran(time.Minute, 1), func(s *Status) { s.Again.Quick = 99 }), want: 100 * time.Millisecond},
		{name: "it could not be started", policy: always, s: with(ran(time.Minute, 1), func(s *Status) {
			s.Again.Quick, s.Again.Tried = 1, now.Add(time.Second)
		}), after: time.Second, want: 200 * time.Millisecond},
		{name: "it is being restarted", s: with(ran(time.Second, 0), func(s *Status) { s.Again = Again{Asked: true, Quick: 5} }), want: 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Container{Config: Config{Restart: tt.policy}, Status: tt.s}
			wait, due := c.RestartDue(now.Add(tt.after))
			if !due {
				wait = -1
			}
			if wait != tt.want {
				t.Errorf("due in %s, want %s", wait, tt.want)
			}
		})
	}
}

// A container that ends at once is started ever more rarely, until it has run for
// a while; a user's start begins anew.
func TestRestartsBackOff(t *testing.T) {
	s := Status{State: Stopped, CodeKnown: true}
	for i := range 3 {
		s.started(true)
		if s.Again.Count != i+1 || s.Again.Quick != i+1 {
			t.Fatalf("after %d starts: %+v", i+1, s.Again)
		}
	}
	s.StartedAt, s.FinishedAt = time.Unix(0, 0), time.Unix(11, 0)
	if s.started(true); s.Again.Count != 4 || s.Again.Quick != 1 {
		t.Errorf("after a long run: %+v", s.Again)
	}
	s.StoppedByUser = true
	if s.started(false); s.Again != (Again{}) || s.StoppedByUser {
		t.Errorf("after a user's start: %+v", s)
	}
}

func TestParseRestart(t *testing.T) {
	for _, tt := range []struct {
		in      string
		want    Restart
		wantErr bool
	}{
		{in: "no", want: Restart{Policy: RestartNo}},
		{in: "never", want: Restart{Policy: RestartNo}},
		{in: "Always", want: Restart{Policy: RestartAlways}},
		{in: "unless-stopped", want: Restart{Policy: RestartUnlessStopped}},
		{in: "on-failure", want: Restart{Policy: RestartOnFailure}},
		{in: "on-failure:3", want: Restart{Policy: RestartOnFailure, Retries: 3}},
		{in: "on-failure:-1", wantErr: true},
		{in: "on-failure:", wantErr: true},
		{in: "always:3", wantErr: true},
		{in: "", wantErr: true},
		{in: "sometimes", wantErr: true},
	} {
		got, err := ParseRestart(tt.in)
		if (err != nil) != tt.wantErr || (err == nil && got != tt.want) {
			t.Errorf("ParseRestart(%q) = %+v, %v", tt.in, got, err)
		}
	}
}
