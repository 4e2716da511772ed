// Package nft keeps davit's own nftables table by netlink, without running any
// program.
//
// The table's rules are static. What changes are elements of its sets and
// maps: the bridges and subnets of davit's networks, and one map element per
// published port and address family. So publishing a port is one small
// transaction whose cost does not grow with the number of rules.
//
//	table inet davit {
//	  set bridges    { type ifname }                     davit's bridges
//	  set internal   { type ifname }                     those without a way out
//	  set inside     { type ifname . ifname }            (b, b) for each of internal
//	  set subnets4/6 { type ipv4_addr; flags interval }  masqueraded sources
//	  map ports4/6   { type addr . proto . port : addr . port }   published on one host address
//	  map any4/6     { type proto . port : addr . port }          published on all host addresses
//	  chain guard       prerouting, raw     nobody but lo reaches 127.0.0.0/8
//	  chain prerouting  prerouting, dstnat  published ports, from elsewhere
//	  chain output      output, dstnat      published ports, from this host
//	  chain postrouting postrouting, srcnat masquerading
//	  chain forward     forward, filter     internal networks stay inside
//	}
//
// The guard is what makes it safe to set route_localnet on a bridge, and to
// publish a port on 127.0.0.1: DNAT happens before routing, so without it a
// neighbour on the host's link could send a packet for 127.0.0.1 to the host
// and be translated to the container.
//
// An accept in this table does not override a drop in another one (nftables
// evaluates every base chain of a hook), so hosts whose iptables FORWARD policy
// is DROP need a rule there: see InspectForwarding.
package nft
