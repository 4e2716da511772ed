package commands_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands"
	"github.com/davit-containers/davit/commands/cli"
)

// run runs a command line as a user who is not root, with an empty configuration.
func run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	env := cli.NewEnv(cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs}, []string{"DAVIT_CONFIG=/dev/null"})
	env.Version, env.Euid = "1.2.3", 1000
	code = commands.Run(t.Context(), env, args)
	return out.String(), errs.String(), code
}

// tree returns all visible commands.
func tree(t *testing.T) []*cobra.Command {
	t.Helper()
	env := cli.NewEnv(cli.Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, nil)
	root := commands.NewRoot(env)
	root.InitDefaultHelpCmd()
	all := []*cobra.Command{root}
	for i := 0; i < len(all); i++ {
		for _, sub := range all[i].Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				all = append(all, sub)
			}
		}
	}
	return all
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // what they contain; an empty stderr is empty
	}{
		{"version", []string{"--version"}, 0, "davit version 1.2.3\n", ""},
		{"short version", []string{"-v"}, 0, "davit version 1.2.3\n", ""},
		{"help", []string{"--help"}, 0, "Usage:\n  davit COMMAND", ""},
		{"help of a verb", []string{"help", "pull"}, 0, "Usage:\n  davit pull IMAGE...", ""},
		{"help of a verb below", []string{"image", "rm", "-h"}, 0, "Usage:\n  davit image rm", ""},
		{"help of run", []string{"run", "--help"}, 0, "-h, --hostname NAME", ""},
		{"help of create below", []string{"container", "create", "--help"}, 0, "Usage:\n  davit container create [flags] IMAGE", ""},
		{"help of pod create", []string{"pod", "create", "-h"}, 0, "      --hostname NAME", ""},
		{"-h of run is the host name", []string{"run", "-h", "a b", "busybox"}, 125, "", `Error: --hostname: "a b" is not a host name`},
		{"-h of create too", []string{"container", "create", "-h=a/b", "busybox"}, 125, "", `Error: --hostname: "a/b" is not a host name`},
		{"-h of the command run", []string{"run", "-h", "web", "busybox", "ls", "-h"}, 125, "", "Error: davit needs to be run as root for this"},
		{"-h without a name", []string{"run", "-h"}, 125, "", "Error: flag needs an argument: 'h' in -h"},
		{"completion behind --help", []string{"__complete", "run", "--help", ""}, 0, ":4\n", "ShellCompDirectiveNoFileComp"},
		{"help of top", []string{"top", "--help"}, 0, "\n\nDescriptors: args, comm, etime, group, hpid, huser,", ""},
		{"config", []string{"config", "show", "--origin", "root"}, 0, "root  /var/lib/davit  default", ""},
		{"config default", []string{"config", "default"}, 0, "[network]", ""},
		{"completion", []string{"completion", "bash"}, 0, "__start_davit", ""},
		{"man", []string{"man", "image", "ls"}, 0, ".TH DAVIT\\-IMAGE\\-LS 1", ""},
		{"json", []string{"config", "show", "--format", "json", "network"}, 0, `"key": "network.default"`, ""},
		{"nothing", nil, 125, "Usage:", "Error: a command is missing: davit COMMAND\n"},
		{"no verb", []string{"image"}, 125, "Usage:", "Error: a command is missing: davit image COMMAND\n"},
		{"unknown verb", []string{"imges"}, 125, "", "Error: unknown command \"imges\" for \"davit\"\nHint: did you mean 'davit images'?\n"},
		{"unknown verb with --help", []string{"imges", "--help"}, 125, "", "Error: unknown command \"imges\" for \"davit\"\nHint: did you mean 'davit images'?\n"},
		{"unknown verb below with -h", []string{"pod", "nope", "-h"}, 125, "", "Error: unknown command \"nope\" for \"davit pod\"\nHint: did you mean 'davit pod top'?\n"},
		{"unknown verb below", []string{"image", "inspct", "x"}, 125, "", "Hint: did you mean 'davit image inspect'?\n"},
		{"help of an unknown verb", []string{"help", "imges"}, 125, "", "did you mean 'davit images'?"},
		{"help of more than a verb", []string{"help", "version", "x"}, 125, "", "Error: unknown command \"x\" for \"davit version\"\n"},
		{"man of more than a verb", []string{"man", "version", "x"}, 125, "", "Error: unknown command \"x\" for \"davit version\"\n"},
		{"man of an unknown verb", []string{"man", "imges"}, 125, "", "did you mean 'davit images'?"},
		{"unknown flag", []string{"images", "--fromat", "x"}, 125, "", "Error: unknown flag --fromat\nHint: did you mean --format?\n"},
		{"unknown short flag", []string{"images", "-qZ"}, 125, "", "Error: unknown flag -Z\nHint: see davit images --help\n"},
		{"flag without its value", []string{"images", "--format"}, 125, "", "flag needs an argument: --format"},
		{"bad value", []string{"pull", "--retry", "x", "a"}, 125, "", `"x" for "--retry"`},
		{"missing container", []string{"logs"}, 125, "", "Error: a container is missing\nHint: name one, or use --latest\n"},
		{"missing container of a verb for all", []string{"stop"}, 125, "", "Hint: name one, or use --all or --latest\n"},
		{"missing pod", []string{"pod", "top"}, 125, "", "Error: a pod is missing\nHint: name one, or use --latest\n"},
		{"missing pod of a verb for all", []string{"pod", "start"}, 125, "", "Hint: name one, or use --all or --latest\n"},
		{"a name and --latest", []string{"logs", "-l", "web"}, 125, "", "Error: --latest takes no names\n"},
		{"a name and a filter", []string{"rm", "--filter", "name=a", "web"}, 125, "", "Error: --filter takes no names\n"},
		{"all and the latest", []string{"start", "--all", "-l"}, 125, "", "Error: --latest does not go with --all\n"},
		{"a pod's name and --latest", []string{"pod", "stop", "-l", "shop"}, 125, "", "Error: --latest takes no names\n"},
		{"an interval of wait that is none", []string{"wait", "-i", "often", "web"}, 125, "", `Error: --interval: "often" is not a time`},
		{"an interval of wait", []string{"wait", "-i", "250ms", "--interval", "250", "web"}, 125, "", "Error: davit needs to be run as root for this"},
		{"a field that ps has not", []string{"ps", "--format", "{{.Size}}"}, 125, "", `unknown field "Size" in --format; the fields are ID,`},
		{"missing argument", []string{"pull"}, 125, "", "Error: an argument is missing\nHint: usage: davit pull IMAGE..."},
		{"a global flag before the verb", []string{"--log-level", "loud", "config", "show"}, 125, "", `Error: --log-level: "loud" is none of`},
		{"a global flag behind it", []string{"config", "show", "--log-level", "loud"}, 125, "", `Error: --log-level: "loud" is none of`},
		{"not root", []string{"images"}, 125, "", "Error: davit needs to be run as root for this\nHint: "},
		{"not root, with bad usage", []string{"images", "--format", "{{.Nope}}"}, 125, "", `unknown field "Nope"`},
		{"not root, networks", []string{"network", "ls"}, 125, "", "run as root"},
		{"unknown key", []string{"config", "show", "netwrk.default"}, 125, "", "did you mean network.default?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := run(t, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(stdout, tt.stdout) || tt.stdout == "" && stdout != "" {
				t.Errorf("stdout %q, want %q", stdout, tt.stdout)
			}
			if !strings.Contains(stderr, tt.stderr) || tt.stderr == "" && stderr != "" {
				t.Errorf("stderr %q, want %q", stderr, tt.stderr)
			}
			if strings.Count(stderr, "\n") > 2 {
				t.Errorf("an error of more than one line and a hint:\n%s", stderr)
			}
		})
	}
}

func TestConfigErrorsStopCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "davit.toml")
	if err := os.WriteFile(file, []byte("\n[network]\ndefalt = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "Error: " + file + ":3: unknown key \"network.defalt\"\nHint: did you mean \"network.default\"?\n"
	for _, args := range [][]string{{"--config", file, "config", "show"}, {"config", "validate", file}} {
		if _, stderr, code := run(t, args...); code != 125 || stderr != want {
			t.Errorf("%v: code %d, %q", args, code, stderr)
		}
	}
	if _, stderr, code := run(t, "--config", file, "--version"); code != 0 {
		t.Errorf("--version reads the configuration: %s", stderr)
	}
}

// TestHelp holds every command to what its help and man page need.
func TestHelp(t *testing.T) {
	for _, cmd := range tree(t) {
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: its short text is %q", path, cmd.Short)
		}
		if n := len(exampleLines(cmd)); n < 2 {
			t.Errorf("%s: %d examples, 2 at least", path, n)
		}
		if cmd.HasParent() && !cmd.Parent().HasParent() && cmd.GroupID == "" {
			t.Errorf("%s: is in no group", path)
		}
		if !cmd.Runnable() {
			t.Errorf("%s: does nothing", path)
		}
		var b bytes.Buffer
		if err := commands.WriteHelp(&b, cmd, 90); err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(b.String()) {
			if !strings.HasPrefix(line, " ") && len([]rune(line)) > 91 {
				t.Errorf("%s: a line of its help is too long: %s", path, line)
			}
		}
		for _, s := range cli.FlagSections(cmd) {
			for _, f := range s.Flags {
				if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
					t.Errorf("%s --%s: says %q", path, f.Name, f.Usage)
				}
			}
		}
	}
}

// TestExamples parses every example as its command would: a flag or an argument
// that does not exist fails.
func TestExamples(t *testing.T) {
	for _, cmd := range tree(t) {
		for _, line := range exampleLines(cmd) {
			own := false
			for _, words := range davitCalls(t, line) {
				env := cli.NewEnv(cli.Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, nil)
				root := commands.NewRoot(env)
				root.InitDefaultHelpCmd()
				target, args, err := root.Find(words)
				if err != nil {
					t.Errorf("%s: %s: %v", cmd.CommandPath(), line, err)
					continue
				}
				own = own || target.CommandPath() == cmd.CommandPath() || cmd.HasSubCommands() || same(target, cmd)
				target.InitDefaultHelpFlag()
				if err := target.ParseFlags(args); err != nil {
					t.Errorf("%s: %s: %v", cmd.CommandPath(), line, err)
					continue
				}
				if target.HasSubCommands() && target.Flags().NArg() > 0 {
					t.Errorf("%s: %s: no such command", cmd.CommandPath(), line)
				}
				if err := target.ValidateArgs(target.Flags().Args()); err != nil {
					t.Errorf("%s: %s: %v", cmd.CommandPath(), line, err)
				}
			}
			if !own {
				t.Errorf("%s: its example does not call it: %s", cmd.CommandPath(), line)
			}
		}
	}
}

// same says whether two commands are both spellings of one verb.
func same(a, b *cobra.Command) bool { return a.Short == b.Short && a.Example == b.Example }

func exampleLines(cmd *cobra.Command) []string {
	var lines []string
	for line := range strings.Lines(cmd.Example) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// davitCalls splits a line of a shell into the calls of davit in it, as words
// without the program's name.
func davitCalls(t *testing.T, line string) [][]string {
	t.Helper()
	var calls [][]string
	var words []string
	word, open, quote := "", false, rune(0)
	skip := false // the word after a redirection
	endWord := func() {
		if open && !skip {
			words = append(words, word)
		}
		if open {
			skip = false
		}
		word, open = "", false
	}
	endCall := func() {
		endWord()
		if i := slices.Index(words, "davit"); i >= 0 {
			calls = append(calls, words[i+1:])
		}
		words = nil
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ' ':
			endWord()
		case r == '|' || r == ';' || r == '&':
			endCall()
		case r == '>' || r == '<':
			endWord()
			skip = true
		case r == '(' || r == ')':
			endCall()
		default:
			word, open = word+string(r), true
		}
	}
	endCall()
	if len(calls) == 0 {
		t.Errorf("no call of davit in the example %q", line)
	}
	return calls
}

// TestGenerated regenerates man and completions, and compares.
func TestGenerated(t *testing.T) {
	for _, g := range []struct {
		dir  string
		args []string
	}{{"man", []string{"man", "--dir"}}, {"completions", []string{"completion", "--dir"}}} {
		want := t.TempDir()
		if _, stderr, code := run(t, append(g.args, want)...); code != 0 {
			t.Fatalf("generating %s: %s", g.dir, stderr)
		}
		is, says := folder(t, filepath.Join("..", g.dir)), folder(t, want)
		for name := range is {
			if _, ok := says[name]; !ok {
				t.Errorf("%s/%s: no command has it any more", g.dir, name)
			}
		}
		for name, text := range says {
			if diff := cmp.Diff(strings.Split(text, "\n"), strings.Split(is[name], "\n")); diff != "" {
				t.Errorf("%s/%s is not what the commands say; run make generate\n%.800s", g.dir, name, diff)
			}
		}
	}
}

func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(data)
	}
	return all
}

// TestMan looks for what man(1) would misread.
func TestMan(t *testing.T) {
	macro := regexp.MustCompile(`^\.(TH|SH|PP|TP|B|BR|nf|fi)\b`)
	for _, cmd := range tree(t) {
		var b bytes.Buffer
		if err := commands.WriteMan(&b, cmd); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if strings.HasPrefix(line, ".") && !macro.MatchString(line) || strings.HasPrefix(line, "'") {
				t.Errorf("%s: a line that roff takes for its own: %s", cmd.CommandPath(), line)
			}
		}
	}
}

// TestSparse: a command line gets the command that it is about, as it is among all
// others, and makes few others.
func TestSparse(t *testing.T) {
	for _, cmd := range tree(t) {
		path := strings.Fields(cmd.CommandPath())[1:]
		cmd.InitDefaultHelpFlag()
		var want bytes.Buffer
		if err := commands.WriteHelp(&want, cmd, 80); err != nil {
			t.Fatal(err)
		}
		spellings := [][]string{path}
		for _, alias := range cmd.Aliases {
			spellings = append(spellings, append(slices.Clone(path[:len(path)-1]), alias))
		}
		for _, words := range spellings {
			got, errs, code := run(t, slices.Concat([]string{"--log-level", "info"}, words, []string{"--help"})...)
			if diff := cmp.Diff(want.String(), got); diff != "" || code != 0 || errs != "" {
				t.Errorf("davit %s --help: code %d, %q\n%s", strings.Join(words, " "), code, errs, diff)
			}
		}
	}
	if out, _, _ := run(t, "__complete", ""); !strings.Contains(out, "\nvolume\t") || !strings.Contains(out, "\nps\t") {
		t.Errorf("completion does not list all commands:\n%s", out)
	}
	for _, tt := range []struct {
		args   []string
		allocs float64
	}{
		{[]string{"--version"}, 250},
		{[]string{"exec", "--help"}, 600},
		{[]string{"container", "exited", "--help"}, 1100},
	} {
		if n := testing.AllocsPerRun(3, func() { run(t, tt.args...) }); n > tt.allocs {
			t.Errorf("davit %s: %v allocations, %v at most", strings.Join(tt.args, " "), n, tt.allocs)
		}
	}
}

// TestSparseInspect: inspect has image inspect show an image.
func TestSparseInspect(t *testing.T) {
	root := commands.NewRoot(&cli.Env{Sparse: true, Args: []string{"inspect", "x"}})
	if cmd, _, err := root.Find([]string{"image", "inspect"}); err != nil || cmd.CommandPath() != "davit image inspect" {
		t.Errorf("beside inspect there is %q, %v", cmd.CommandPath(), err)
	}
}
