package netns

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"
)

func TestCheckSysctls(t *testing.T) {
	all := Scope{Net: true, IPC: true, UTS: true}
	tests := []struct {
		name, value string
		scope       Scope
		wantErr     bool
	}{
		{"net.ipv4.ip_forward", "1", all, false},
		{"net.ipv4.ip_local_port_range", "1024 65000", all, false},
		{"net.ipv4.ip_local_port_range", "1024\t65000", all, false},
		{"net.ipv4.tcp_congestion_control", "bbr", all, false},
		{"net.ipv4.ping_group_range", "0 2147483647", all, false},
		{"net.core.somaxconn", "1024", all, false},
		{"kernel.shmmax", "68719476736", all, false},
		{"kernel.shm_rmid_forced", "1", all, false},
		{"kernel.sem", "250 32000 100 128", all, false},
		{"kernel.msgmax", "65536", all, false},
		{"fs.mqueue.msg_max", "100", all, false},
		{"kernel.domainname", "example.org", all, false},
		{"kernel.core_pattern", "|/bin/x", all, true},
		{"kernel.shm_rmid_forced", "1\nkernel.core_pattern=|/x", all, true},
		{"kernel.shm_rmid_forced", "1+kernel.core_pattern", all, true},
		{"kernel.sem", "250 32000 100", all, true},
		{"kernel.msgmax", "a", all, true},
		{"kernel.msgmax", "-1", all, true},
		{"vm.swappiness", "1", all, true},
		{"net/ipv4/ip_forward", "1", all, true},
		{"net.ipv4/../../kernel.core_pattern", "1", all, true},
		{"net..ipv4", "1", all, true},
		{"net.", "1", all, true},
		{"", "1", all, true},
		{"net.ipv4.ip_forward", "", all, true},
		{"net.ipv4.ip_forward", "1;2", all, true},
		{"net.ipv4.ip_forward", "1\x00", all, true},
		{"net.ipv4.ip_forward", "1", Scope{IPC: true, UTS: true}, true},
		{"kernel.shmmax", "1", Scope{Net: true, UTS: true}, true},
		{"fs.mqueue.msg_max", "1", Scope{Net: true}, true},
		{"kernel.domainname", "x", Scope{Net: true}, true},
	}
	for _, tt := range tests {
		err := CheckSysctls(map[string]string{tt.name: tt.value}, tt.scope)
		if (err != nil) != tt.wantErr {
			t.Errorf("%s=%q: error %v, want one: %t", tt.name, tt.value, err, tt.wantErr)
		}
		if err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s=%q: %v is not of class ErrInvalidArgument", tt.name, tt.value, err)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	tests := []struct {
		name    string
		config  Config
		wantErr bool
	}{
		{"plain", Config{Dir: "/x", Net: true}, false},
		{"hostname", Config{Dir: "/x", UTS: true, Hostname: "web"}, false},
		{"hostname without UTS", Config{Dir: "/x", Hostname: "web"}, true},
		{"hostname with newline", Config{Dir: "/x", UTS: true, Hostname: "a\nb"}, true},
		{"relative folder", Config{Dir: "x", Net: true}, true},
	}
	for _, tt := range tests {
		if err := tt.config.check(); (err != nil) != tt.wantErr {
			t.Errorf("%s: error %v, want one: %t", tt.name, err, tt.wantErr)
		}
	}
}
