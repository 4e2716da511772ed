// Package check finds what does not agree between davit's records and the machine,
// and puts it right.
//
// The terms:
//
//   - A finding is one thing that does not agree: a record without what it stands
//     for, or a resource (a mount, a cgroup, a lease, a process) of an object that
//     there is no record of.
//   - An object is known while it has a record, or an operation that makes or
//     removes it. A record comes before the first resource and goes after the last
//     one, so what was there before its object was looked for in vain, and is there
//     afterwards, is nobody's.
//
// What is only on its way in or out looks like one for a moment, so a suspect has to
// stay one for a second.
//
// Looking takes no lock and changes nothing. Mending looks again first, and passes
// over what somebody is at work on: it is safe beside a server and other commands.
package check
