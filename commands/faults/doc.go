// Package faults holds the tests of the fault matrix that need the built binary:
// a server that is killed, a disk that is full, power that is lost, a program that
// hangs. It has test files only.
//
// A row of the matrix is a test named after it, TestF17…, here or in the package
// whose fault it is. After each of them two oracles must hold:
//
//   - S0, state: what was acknowledged is there after a restart, what was not is
//     absent or whole, and davit system check finds nothing.
//   - L0, leaks: the machine holds what it held before, in mounts, namespaces,
//     links, addresses, firewall rules, cgroups, processes, run files and layers;
//     a server also in open files and goroutines.
//
// Tests with the tag faults are quick (make test-faults, part of make test); those
// with the tag faultslong are storms, soaks and sweeps over many points (make
// test-faults-long). Files with both hold what they share.
package faults
