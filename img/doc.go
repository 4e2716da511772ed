// Package img is the store of local images: it pulls, resolves, lists, tags,
// removes, imports, saves and loads them, and makes root filesystems of them.
//
// It is a thin layer over go.podman.io/storage (layers, images, root
// filesystems) and go.podman.io/image (registries, archives, manifests,
// signature policy), which nothing else of davit imports. What it adds is
// policy: which store, which names, one transfer for two pulls of one
// reference, errors of one line with a class.
//
// # Terms
//
// A reference is what somebody typed: a name, a short name, an ID, a prefix of
// one, a digest, or a location such as oci-archive:FILE. A name is fully
// qualified: registry, repository, and a tag or a digest. An image's ID is the
// digest of its config, in hexadecimal and without the algorithm; its digest is
// that of a manifest.
//
// # Processes
//
// Layers are unpacked in a child that is this program again. A program that
// calls Pull, Load or Import must therefore call [Reexec] before anything else
// and exit when it answers true.
//
// # Signature policy
//
// policy.json is honoured where there is one, and a policy that cannot be read
// or is malformed refuses every pull. A host that has none gets
// insecureAcceptAnything: it is the policy that the distributions' own packages
// of podman and skopeo install, and a host with no policy is one where nobody
// has asked for signatures. Digests are verified whatever the policy says.
// A kubelet's containers are made only of images that the policy accepts at that
// moment, whatever it said when they were pulled.
package img
