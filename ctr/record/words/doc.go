// Package words reads what a program prints to its end, on a busy machine too: the
// pipes that os/exec makes are closed once its WaitDelay is over, with what they hold,
// should this process have had no time to read it.
package words
