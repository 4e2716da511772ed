// Package netw connects sandboxes to networks.
//
// There are three origins of networks:
//
//   - the built-in network, named davit: a bridge that davit sets up by itself;
//   - user-made networks, kept in Root/networks/<name>.conflist: bridges of davit's
//     own, or macvlan;
//   - networks of the host, CNI configuration lists in ConfDir (/etc/cni/net.d), which
//     davit only uses.
//
// An attachment is a sandbox's membership in one or more networks: its
// interfaces, addresses and published ports. Attach writes its intent, with the
// configuration it is about to use, to network.json in the sandbox's run folder
// before anything else happens; Detach undoes what that file says, whatever of
// it came to pass. Both are idempotent, and the same Detach serves an error, a
// crash and a regular end. RunRoot/networks/attached/<id> points to the file,
// so that all attachments can be found.
//
// Bridges that davit made itself, built-in or by the user, davit joins by netlink,
// and gives out their addresses; all other networks are joined and left by CNI
// plugins. What a user made is kept as a configuration list too, which other
// programs can use. Per attachment to a bridge of davit's own nothing is set up but
// the interface: masquerading, forwarding and the rules
// for published ports are made once per network by package nft and found again
// before every attachment, which mends them after a flush of the firewall. A
// published port is then one element of a map. Networks of the host publish
// ports through their own portMappings capability; where they have none,
// davit's map serves them as well, though not for connections to 127.0.0.1.
//
// Published ports are refused while another process listens on them. They are
// translated before the host's own sockets are looked at, so a process that
// starts to listen on such a port later is shadowed by the container. The IPv6
// loopback address ::1 cannot be translated (the kernel binds it to lo): a
// connection to it is refused, and 127.0.0.1 works.
//
// Forwarding: davit's table never drops what leaves a bridge, but it cannot
// accept what another table drops. On hosts whose iptables FORWARD policy is
// DROP, as Docker sets it, davit inserts rules for its bridges into DOCKER-USER,
// or FORWARD, by way of the iptables command; every attachment looks whether
// they are there. The zones of firewalld are their administrator's:
// firewall-cmd --zone=trusted --add-interface=davit0.
//
// A davit on roots of its own (Config.DefaultRoots false) has a bridge, an nft
// table and subnets of its own, and touches nothing of the host's davit.
//
// Names: containers of one user-made network find each other by name through
// /etc/hosts; Peers lists what those files have to hold.
package netw
