package harness

import (
	"io"
	"testing"
)

func TestPTYCarriesWhatIsTyped(t *testing.T) {
	screen, terminal, err := OpenPTY(30, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	done := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(terminal, make([]byte, 3))
		done <- err
	}()
	if _, err := io.WriteString(screen, "hi\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := screen.Close(); err != nil {
		t.Error(err)
	}
}
