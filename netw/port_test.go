package netw

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// addrs lets cmp compare netip values.
var addrs = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})}

func TestParsePort(t *testing.T) {
	ip := netip.MustParseAddr
	tests := []struct {
		name    string
		want    []Port
		wantErr bool
	}{
		{name: "80", want: []Port{{ContainerPort: 80, Protocol: "tcp"}}},
		{name: "8080:80", want: []Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}},
		{name: "8080:80/udp", want: []Port{{HostPort: 8080, ContainerPort: 80, Protocol: "udp"}}},
		{name: "8080:80/SCTP", want: []Port{{HostPort: 8080, ContainerPort: 80, Protocol: "sctp"}}},
		{name: "53:53/tcp,udp", want: []Port{{HostPort: 53, ContainerPort: 53, Protocol: "tcp"}, {HostPort: 53, ContainerPort: 53, Protocol: "udp"}}},
		{name: "127.0.0.1:8080:80", want: []Port{{HostIP: ip("127.0.0.1"), HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}},
		{name: "127.0.0.1::80", want: []Port{{HostIP: ip("127.0.0.1"), ContainerPort: 80, Protocol: "tcp"}}},
		{name: ":80", want: []Port{{ContainerPort: 80, Protocol: "tcp"}}},
		{name: "0:80", want: []Port{{ContainerPort: 80, Protocol: "tcp"}}},
		{name: "::80", want: []Port{{ContainerPort: 80, Protocol: "tcp"}}},
		{name: "[::1]:8080:80", want: []Port{{HostIP: ip("::1"), HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}},
		{name: "[fd00::1]::80/udp", want: []Port{{HostIP: ip("fd00::1"), ContainerPort: 80, Protocol: "udp"}}},
		{name: "8000-8001:80-81", want: []Port{
			{HostPort: 8000, ContainerPort: 80, Protocol: "tcp"}, {HostPort: 8001, ContainerPort: 81, Protocol: "tcp"}}},
		{name: "80-81", want: []Port{{ContainerPort: 80, Protocol: "tcp"}, {ContainerPort: 81, Protocol: "tcp"}}},
		{name: "65535:65535", want: []Port{{HostPort: 65535, ContainerPort: 65535, Protocol: "tcp"}}},
		{name: "", wantErr: true},
		{name: "0", wantErr: true},
		{name: "65536", wantErr: true},
		{name: "80/", wantErr: true},
		{name: "80/icmp", wantErr: true},
		{name: "8000-8002:80-81", wantErr: true},
		{name: "8001-8000:81-80", wantErr: true},
		{name: "a:80", wantErr: true},
		{name: "+1:80", wantErr: true},
		{name: "8080:", wantErr: true},
		{name: "300.0.0.1:8080:80", wantErr: true},
		{name: "::1:8080:80", wantErr: true},
		{name: "[::1]:80", wantErr: true},
		{name: "[::1]", wantErr: true},
		{name: "[::1%lo]:80:80", wantErr: true},
		{name: "80\n", wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePort(tt.name)
			if (err != nil) != tt.wantErr {
				t.Fatalf("error %v, want one: %t", err, tt.wantErr)
			}
			if err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
				t.Errorf("%v is not of class ErrInvalidArgument", err)
			}
			if d := cmp.Diff(tt.want, got, addrs); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzParsePort(f *testing.F) {
	for _, s := range []string{"80", "[::1]:1-2:3-4/tcp,udp", "1.2.3.4::9/sctp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ports, err := ParsePort(s)
		if err != nil {
			return
		}
		if len(ports) == 0 || len(ports) > 3*65535 {
			t.Fatalf("%d ports", len(ports))
		}
		for _, p := range ports {
			if p.ContainerPort == 0 || p.Protocol == "" || p.HostIP.Zone() != "" {
				t.Errorf("%+v", p)
			}
		}
	})
}

func TestPortString(t *testing.T) {
	tests := []struct {
		want string
		port Port
	}{
		{"0.0.0.0:8080->80/tcp", Port{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}},
		{"127.0.0.1:8080->80/udp", Port{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, ContainerPort: 80, Protocol: "udp"}},
		{"[::1]:8080->80/tcp", Port{HostIP: netip.MustParseAddr("::1"), HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}},
	}
	for _, tt := range tests {
		if got := tt.port.String(); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestCheckPorts(t *testing.T) {
	tests := []struct {
		name    string
		ports   []string
		wantErr bool
	}{
		{name: "different", ports: []string{"80:80", "81:80"}},
		{name: "protocols", ports: []string{"53:53/tcp,udp"}},
		{name: "addresses", ports: []string{"127.0.0.1:80:80", "127.0.0.2:80:80"}},
		{name: "families", ports: []string{"0.0.0.0:80:80", "[::]:80:80"}},
		{name: "both to be chosen", ports: []string{"80", "80"}},
		{name: "twice", ports: []string{"80:80", "80:81"}, wantErr: true},
		{name: "all and one", ports: []string{"80:80", "127.0.0.1:80:80"}, wantErr: true},
		{name: "all of IPv4 and one", ports: []string{"0.0.0.0:80:80", "127.0.0.1:80:80"}, wantErr: true},
		{name: "within a range", ports: []string{"80-90:80-90", "85:1"}, wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var ports []Port
			for _, s := range tt.ports {
				p, err := ParsePort(s)
				if err != nil {
					t.Fatal(err)
				}
				ports = append(ports, p...)
			}
			if err := CheckPorts(ports); (err != nil) != tt.wantErr {
				t.Errorf("error %v, want one: %t", err, tt.wantErr)
			}
		})
	}
}
