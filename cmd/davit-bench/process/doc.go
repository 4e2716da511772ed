// Package process tells what processes take of memory and CPU.
package process
