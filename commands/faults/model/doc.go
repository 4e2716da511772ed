// Package model holds the model test: a small model of what pods, containers and
// images are to do, random sequences of operations on the real engine, and a
// comparison of every answer and every list. It has test files only.
//
// Terms: a world is the model's state; an operation is what a user or a kubelet
// asks for, or what befalls the machine; a face is what is asked, the command line
// or the server. With fakes of the OCI runtime, the monitor and the CNI plugin
// (testdata/fakes) a face is a worker, a process with the engine in it. With the real
// ones it is a shell, which types commands, and a kubelet, which calls a server.
//
// A worker can be told to die at a step of an operation. What its successor then
// finds must be the world as it was, as it was to be, or one of the few in between
// that the operation is allowed to stop at. The real davit, its server and the exit
// commands of its monitors are killed after a time, whatever they are at.
//
// A sequence that fails is made shorter as long as it still fails, and printed as
// commands to type.
package model
