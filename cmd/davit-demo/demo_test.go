package main

import (
	"strings"
	"testing"

	"github.com/davit-containers/davit/commands/harness"
)

func TestJudgeTellsWhatDiffers(t *testing.T) {
	s := step{args: words("exec", "web", "sh", "-c", "exit 7"), want: `^out$`, code: 7}
	if err := judge(s, harness.Result{Stdout: "out\n", Code: 7}); err != nil {
		t.Errorf("what is expected was refused: %v", err)
	}
	err := judge(s, harness.Result{Stdout: "other\n", Code: 1})
	if err == nil {
		t.Fatal("what is not expected was accepted")
	}
	for _, want := range []string{"davit exec web sh -c 'exit 7'", "exit code: want 7, got 1", "^out$", "other"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}

func TestTypedQuotes(t *testing.T) {
	if got, want := typed(words("run", "it's", "a b", "")), `davit run 'it'\''s' 'a b' ''`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCleanTakesOutControlSequences(t *testing.T) {
	if got, want := clean("\x1b[6n/ # \x1b[Jecho hi\r\nhi\r\n"), "/ # echo hi\nhi"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
