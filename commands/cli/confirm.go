package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Confirm asks before something is destroyed: a question on a terminal, whose
// default answer is no. Without a terminal it is an error that names flag, which
// says yes beforehand. It returns whether to go on.
func (e *Env) Confirm(warning, flag string) (bool, error) {
	if !e.InIsTerminal() {
		return false, Usagef("nobody is here to be asked: standard input is not a terminal").
			Hintf("add %s", flag)
	}
	fmt.Fprintf(e.Err, "%s\nAre you sure? [y/N] ", warning)
	answer, err := bufio.NewReader(io.LimitReader(e.In, 1024)).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}
