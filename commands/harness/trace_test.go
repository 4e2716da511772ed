package harness

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTrace(t *testing.T) {
	text := `100 execve("/bin/davit", ["davit", "run"], 0x7ffd /* 20 vars */) = 0
101 execve("/usr/bin/conmon", ["conmon"], 0xc000 /* 3 vars */ <unfinished ...>
100 fsync(7</roots/root/containers/x/config.json>) = 0
101 <... execve resumed>) = 0
102 execve("/sbin/runc", ["runc"], 0xc000 /* 3 vars */) = -1 ENOENT (No such file or directory)
100 fdatasync(8</roots/root/storage/overlay-layers/layers.json> <unfinished ...>
102 execve("/usr/bin/runc", ["runc"], 0xc000 /* 3 vars */) = 0
100 <... fdatasync resumed>) = 0
100 fsync(9</elsewhere/root/x>) = -1 EINVAL (Invalid argument)
100 sync() = 0
102 execveat(5</memfd:runc_cloned:/proc/self/exe (deleted)>, "", ["runc"], 0xc000 /* 3 vars */, AT_EMPTY_PATH) = 0
102 openat(AT_FDCWD</roots>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
100 openat(AT_FDCWD</roots>, "/etc/localtime", O_RDONLY) = -1 ENOENT (No such file or directory)
100 openat2(4</roots/root>, "x", {flags=O_RDONLY} <unfinished ...>
102 openat(4</roots/root>, "y", O_RDONLY|O_CLOEXEC) = 5</roots/root/y>
100 <... openat2 resumed>, 24) = 6</roots/root/x>
100 sendmsg(8<NETLINK:[NETFILTER:100]>, {msg_name={sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, msg_namelen=12, msg_iov=[{iov_base=[{nlmsg_len=20, nlmsg_type=NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_GETTABLE, nlmsg_flags=NLM_F_REQUEST|NLM_F_DUMP}], iov_len=20}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 20
100 sendmsg(8<NETLINK:[NETFILTER:100]>, {msg_name={sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, msg_namelen=12, msg_iov=[{iov_base=[[{nlmsg_len=20, nlmsg_type=NFNL_MSG_BATCH_BEGIN, nlmsg_flags=NLM_F_REQUEST}, {nfgen_family=AF_UNSPEC}]], iov_len=216}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0 <unfinished ...>
102 sendmsg(9<NETLINK:[NETFILTER:100]>, {msg_name={sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, msg_namelen=12, msg_iov=[{iov_base=[[{nlmsg_len=20, nlmsg_type=NFNL_MSG_BATCH_BEGIN, nlmsg_flags=NLM_F_REQUEST}, {nfgen_family=AF_UNSPEC}]], iov_len=216}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 216
100 <... sendmsg resumed>) = 216
102 +++ exited with 0 +++
`
	want := Calls{
		Programs: []string{"davit", "conmon", "runc", Copy},
		Syncs:    []string{"/roots/root/containers/x/config.json", "/roots/root/storage/overlay-layers/layers.json", "sync"},
		Opens:    []string{"/etc/ld.so.cache", "/roots/root/y", "/roots/root/x"},
		Commits:  2,
	}
	got := parseTrace(text)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := got.Below("/roots/root", "storage"); n != 1 {
		t.Errorf("%d syncs on the records, want 1", n)
	}
}
