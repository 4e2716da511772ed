package imgcmd

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
)

// registryOptions are the flags of the verbs that talk to a registry.
type registryOptions struct {
	AuthFile  string
	CertDir   string
	Creds     string
	TLSVerify bool
}

func (o *registryOptions) flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.AuthFile, "authfile", "", "`FILE` with credentials")
	fs.StringVar(&o.CertDir, "cert-dir", "", "`FOLDER` with certificates")
	fs.StringVar(&o.Creds, "creds", "", "credentials: `USER[:PASSWORD]`")
	fs.BoolVar(&o.TLSVerify, "tls-verify", true, "ask for TLS and verify certificates")
}

// parse makes the registry's part of a transfer; tlsGiven says that --tls-verify
// was typed.
func (o registryOptions) parse(tlsGiven bool) (img.Registry, error) {
	r := img.Registry{AuthFile: o.AuthFile, CertDir: o.CertDir}
	if o.Creds != "" {
		user, password, _ := strings.Cut(o.Creds, ":")
		if user == "" {
			return r, cli.Usagef("--creds %q has no user", o.Creds)
		}
		r.Creds = &img.Credentials{Username: user, Password: password}
	}
	if tlsGiven {
		verify := o.TLSVerify
		r.TLSVerify = &verify
	}
	return r, nil
}
