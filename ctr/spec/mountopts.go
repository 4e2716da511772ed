package spec

import (
	"slices"
	"strconv"
	"strings"
)

// Groups of options of which a mount has one word at most.
const (
	optAccess      = "access"
	optPropagation = "propagation"
	optRelabel     = "relabel"
	optBind        = "bind"
	optCopy        = "copy"
	optCopyUp      = "copyup"
)

// classify returns the group of an option that a mount of this type may have.
func classify(kind, word string) (group string, ok bool) {
	switch word {
	case "ro", "rw":
		return optAccess, word == "ro" || kind != MountImage
	case "exec", "noexec", "dev", "nodev", "suid", "nosuid":
		return strings.TrimPrefix(word, "no"), true
	case "atime", "noatime":
		return "atime", true
	case "diratime", "nodiratime":
		return "diratime", true
	case "relatime", "norelatime":
		return "relatime", true
	case "strictatime", "nostrictatime":
		return "strictatime", true
	case "sync", "async":
		return "sync", true
	}
	if slices.Contains(propagations(), word) {
		return optPropagation, true
	}
	if kind == MountTmpfs {
		return classifyTmpfs(word)
	}
	switch word {
	case "bind", "rbind":
		return optBind, true
	case "z", "Z":
		return optRelabel, true
	case "copy", "nocopy":
		return optCopy, kind == MountVolume
	}
	return "", false
}

func classifyTmpfs(word string) (group string, ok bool) {
	switch word {
	case "tmpcopyup", "notmpcopyup":
		return optCopyUp, true
	}
	key, value, ok := strings.Cut(word, "=")
	if !ok {
		return "", false
	}
	switch key {
	case "size", "nr_blocks", "nr_inodes":
		number := strings.TrimRight(value, "kKmMgG")
		if key == "size" {
			number = strings.TrimSuffix(number, "%")
		}
		_, err := strconv.ParseUint(number, 10, 63)
		return key, err == nil && len(value)-len(number) <= 1
	case "mode":
		n, err := strconv.ParseUint(value, 8, 32)
		return key, err == nil && n <= 0o7777
	case "uid", "gid":
		_, err := strconv.ParseUint(value, 10, 31)
		return key, err == nil
	}
	return "", false
}

// addOptions puts the words into m, each once; typed is what the person
// wrote, for messages.
func (m *Mount) addOptions(typed string, words []string) error {
	used := make(map[string]string, len(words))
	for _, word := range words {
		switch word {
		case "", "consistent", "cached", "delegated": // docker's, for other systems
			continue
		case "U": // podman's, which changes the owner of all that is in the source
			return invalidf("mount %q: option \"U\" is not known here: give the source its owner beforehand", typed)
		}
		group, ok := classify(m.Type, word)
		if !ok {
			return invalidf("mount %q: unknown option %q for type %s", typed, word, m.Type)
		}
		if before, ok := used[group]; ok {
			if before == word {
				continue
			}
			return invalidf("mount %q: options %q and %q exclude each other", typed, before, word)
		}
		used[group] = word
		switch {
		case group == optRelabel:
			m.Relabel = word
		case word == "nocopy":
			m.NoCopy = true
		case word == "copy", word == "rbind", word == "rw": // the defaults
		default:
			m.Options = append(m.Options, word)
		}
	}
	return nil
}

// words returns m's options as they are typed.
func (m Mount) words() []string {
	words := slices.Clone(m.Options)
	if m.Relabel != "" {
		words = append(words, m.Relabel)
	}
	if m.NoCopy {
		words = append(words, "nocopy")
	}
	return words
}

// tmpfsOptions adds to a tmpfs's options the defaults that they leave open:
// nothing executable, no devices, no set-user-ID programs, and the image's
// content copied up.
func tmpfsOptions(options []string) []string {
	out := slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == "notmpcopyup" })
	for _, flag := range []string{"exec", "suid", "dev"} {
		if !slices.Contains(options, flag) && !slices.Contains(options, "no"+flag) {
			out = append(out, "no"+flag)
		}
	}
	if !slices.Contains(options, "tmpcopyup") && !slices.Contains(options, "notmpcopyup") {
		out = append(out, "tmpcopyup")
	}
	return out
}
