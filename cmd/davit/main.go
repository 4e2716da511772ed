// Command davit runs pods and containers.
package main

import (
	"context"
	"os"

	"github.com/davit-containers/davit/commands"
	"github.com/davit-containers/davit/commands/cli"
)

func main() {
	os.Exit(commands.Main(context.Background(), os.Args[1:], cli.OSStreams(), os.Environ()))
}
