// Package doctor says what a host lacks or has wrong for davit, and what mends it.
//
// Terms: facts are what was read from the host, values only; a finding is what
// follows from them, by Judge, which reads nothing. Reading is bounded: a program
// that hangs is a fact like any other.
package doctor
