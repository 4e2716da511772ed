// Package bridge sets up the host's side of davit's own networks by netlink:
// the bridge, its addresses, forwarding; and finds address ranges that nothing
// else on the host uses.
package bridge
