// Package bridge sets up davit's own networks by netlink: the bridge, its addresses,
// forwarding; the pairs of interfaces that join sandboxes to it; and finds address
// ranges that nothing else on the host uses.
package bridge
