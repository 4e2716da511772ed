// Package volume keeps volumes: folders that outlive the containers that mount
// them.
//
// Terms: a volume's data is the folder that containers mount; an anonymous
// volume was made for one container's -v /path or for a VOLUME of its image,
// has a name of 64 hex digits, and is removed with that container where asked;
// populating a volume copies what the image has at the mount point into it,
// once, before its first use.
//
// On disk a volume is one folder below the root that its Store was given:
//
//	<name>/_data         the data
//	<name>/volume.json   what Volume says
//
// Root alone gets at the root of a Store by path.
//
// A volume is made in a folder named .new-* and renamed into place, and renamed
// to .old-* before it is deleted, so a name has a whole volume or none, at every
// instant. What a dead process left of the two is swept away by whoever next
// creates or removes a volume. The folder itself is what is locked (flock).
package volume
