# davit. `make demo` and `make test` each do all their set-up themselves.

GO         ?= go
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
MANDIR     ?= $(PREFIX)/share/man
UNITDIR    ?= $(PREFIX)/lib/systemd/system
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
FISHDIR    ?= $(PREFIX)/share/fish/vendor_completions.d

MODULE     := github.com/davit-containers/davit
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TAGS       := containers_image_openpgp
LDFLAGS    := -s -w -X $(MODULE)/commands.version=$(VERSION)
BUILD      := $(GO) build -buildvcs=false -trimpath -tags $(TAGS) -ldflags "$(LDFLAGS)"
STATICCHECK := 0.8.2
CRITOOLS   := 1.36.0
RUNC_NEXT  := 1.4.0
RUNTIME    ?= runc
FOCUS      ?=
RUN        ?=
MODELTIME  ?= 1h
MODELSEED  ?=

# cgo stays on: btrfs, project quotas and the rootless re-exec need it.
export CGO_ENABLED := 1
# The binaries under test, the second with failpoints; the harness builds its own
# where these are unset.
export DAVIT_BIN := $(CURDIR)/bin/davit
export DAVIT_FAULTS_BIN := $(CURDIR)/bin/davit-faults

# What needs root runs through sudo, and only that: the build stays the user's.
ifneq ($(shell id -u),0)
ASROOT     := sudo env "PATH=$(PATH):/usr/sbin:/sbin" "DAVIT_BIN=$(DAVIT_BIN)" "DAVIT_FAULTS_BIN=$(DAVIT_FAULTS_BIN)"
EXEC       := -exec '$(ASROOT)'
endif

# The packages with tests that touch the machine. They run one after the other:
# the leak check of one would see the containers of another.
ROOTFUL     = $(sort $(dir $(shell grep -rl --include='*_test.go' '^//go:build.*rootful' . | sed 's,^\./,,;s,^,./,')))

.DEFAULT_GOAL := build
.NOTPARALLEL:
.PHONY: build build-faults install uninstall deps demo test test-unit test-root test-faults test-faults-core test-faults-long test-model test-cri lint generate bench bench-cri bench-deps need-root clean help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build: ## bin/davit
	@mkdir -p bin
	$(BUILD) -o bin/davit ./cmd/davit

build-faults: ## bin/davit-faults: the same, with the failpoints that tests kill it at
	@mkdir -p bin
	$(GO) build -buildvcs=false -trimpath -tags $(TAGS),failpoints -ldflags "$(LDFLAGS)" -o bin/davit-faults ./cmd/davit

deps: ## install what is missing of the distribution's packages, fetch the Go modules
	@.ci/deps

demo: need-root deps build ## run the main job: pull, pod, run, logs, exec, attach, and everything gone again
	@$(BUILD) -o bin/davit-demo ./cmd/davit-demo
	@$(ASROOT) bin/davit-demo --davit bin/davit

test: deps lint test-unit test-root test-faults-core test-cri ## lint, unit tests, tests with real containers (as root), the core of the fault matrix, the CRI suite

test-unit: ## tests that need neither root nor network
	$(GO) test -buildvcs=false -tags $(TAGS) -p 2 -timeout 10m ./...

test-root: need-root build ## tests with the real runc, conmon, CNI plugins and layer store
	@.ci/fetch runc $(RUNC_NEXT) bin/runc-$(RUNC_NEXT)
	$(GO) test -buildvcs=false -tags $(TAGS),rootful -vet=off -count=1 -p 1 -timeout 30m $(EXEC) $(ROOTFUL)

test-faults: need-root build build-faults ## the fault matrix: processes killed, disks full, programs that hang (RUN=regexp)
	$(GO) test -buildvcs=false -tags $(TAGS),faults -vet=off -count=1 -timeout 20m $(if $(RUN),-run '$(RUN)') -p 1 $(EXEC) ./commands/faults/...

test-faults-core: need-root build build-faults ## the rows of the fault matrix that make test runs: kills at each step, the server's, reboots, full disks, power loss
	$(GO) test -buildvcs=false -tags $(TAGS),faults -vet=off -count=1 -timeout 20m -run '^TestF(1|2|3|4|5|6|9|15|20|26|31|33|48)[A-Z]' $(EXEC) ./commands/faults

test-faults-long: need-root build build-faults ## the rest of it: storms, soaks, sweeps over every point (about two and a half hours; RUN=regexp)
	$(GO) test -buildvcs=false -tags $(TAGS),faultslong -vet=off -count=1 -timeout 4h -v $(if $(RUN),-run '$(RUN)') -p 1 $(EXEC) ./commands/faults/...

test-model: need-root deps build ## the nightly model test: random operations of pods, containers and images, half of the time with fakes and killed at any step, half with the real programs and killed at any moment (MODELTIME=1h, MODELSEED=n,n…)
	DAVIT_MODEL_TIME=$(MODELTIME) DAVIT_MODEL_SEED=$(MODELSEED) $(GO) test -buildvcs=false -tags $(TAGS),faultslong -vet=off -count=1 -timeout 24h -v -run 'TestModel' $(if $(EXEC),-exec '$(ASROOT) "DAVIT_MODEL_TIME=$(MODELTIME)" "DAVIT_MODEL_SEED=$(MODELSEED)"') ./commands/faults/model

test-cri: need-root deps build ## the Kubernetes CRI conformance suite and crictl against serve-cri (RUNTIME=runc|crun, FOCUS=regexp)
	@.ci/fetch critools $(CRITOOLS) bin/critools-$(CRITOOLS)
	@.ci/fetch runc $(RUNC_NEXT) bin/runc-$(RUNC_NEXT)
	@.ci/fetch shell bin/busybox-shell
	@$(BUILD) -o bin/davit-critest ./cmd/davit-critest
	@$(ASROOT) bin/davit-critest --davit bin/davit --tools bin/critools-$(CRITOOLS) --logs bin/test-cri-$(RUNTIME) \
		--runtime "$(RUNTIME)" --runc-next "$(if $(filter runc,$(RUNTIME)),bin/runc-$(RUNC_NEXT))" --focus "$(FOCUS)" $(CRITESTFLAGS)

bin/staticcheck-$(STATICCHECK):
	@mkdir -p bin
	GOBIN=$(CURDIR)/bin CGO_ENABLED=0 $(GO) install honnef.co/go/tools/cmd/staticcheck@v$(STATICCHECK)
	@mv bin/staticcheck $@

lint: bin/staticcheck-$(STATICCHECK) ## gofmt, go vet, staticcheck
	@bad=$$(gofmt -l .); \
	if [ -n "$$bad" ]; then echo "gofmt -w is due for:"; echo "$$bad"; exit 1; fi
	$(GO) vet -buildvcs=false -tags $(TAGS),rootful,faults,faultslong ./...
	bin/staticcheck-$(STATICCHECK) -tags $(TAGS),rootful,faults,faultslong ./...

generate: ## regenerate man/ and completions/ from the commands
	$(GO) generate ./commands/...

bench: need-root deps build ## measure davit against podman, containerd and skopeo where they are installed, and the raw runtime (BENCHFLAGS=--groups=run,exec,…)
	@$(BUILD) -o bin/davit-bench ./cmd/davit-bench
	@$(ASROOT) bin/davit-bench --davit bin/davit $(BENCHFLAGS)

bench-cri: BENCHFLAGS += --groups=cri
bench-cri: bench ## the part of make bench that measures serve-cri against containerd

bench-deps: ## install podman, containerd and skopeo, for make bench to compare with
	@.ci/deps podman skopeo $$(command -v containerd >/dev/null || echo containerd)

install: build ## binary, man pages, completions, systemd units (DESTDIR, PREFIX)
	install -D -m 755 bin/davit $(DESTDIR)$(BINDIR)/davit
	@for f in man/*.1; do [ -e "$$f" ] || continue; install -D -m 644 "$$f" "$(DESTDIR)$(MANDIR)/man1/$${f##*/}"; done
	@for f in man/*.5; do [ -e "$$f" ] || continue; install -D -m 644 "$$f" "$(DESTDIR)$(MANDIR)/man5/$${f##*/}"; done
	install -D -m 644 completions/davit.bash $(DESTDIR)$(BASHDIR)/davit
	install -D -m 644 completions/davit.zsh $(DESTDIR)$(ZSHDIR)/_davit
	install -D -m 644 completions/davit.fish $(DESTDIR)$(FISHDIR)/davit.fish
	@mkdir -p $(DESTDIR)$(UNITDIR)
	@for unit in davit.service davit-restart.service; do \
		sed 's,@BINDIR@,$(BINDIR),' cmd/davit/systemd/$$unit > "$(DESTDIR)$(UNITDIR)/$$unit" && chmod 644 "$(DESTDIR)$(UNITDIR)/$$unit" || exit 1; done

uninstall: ## take away what install put there; pods, images and configuration stay
	rm -f $(DESTDIR)$(BINDIR)/davit $(DESTDIR)$(MANDIR)/man1/davit.1 $(DESTDIR)$(MANDIR)/man1/davit-*.1 $(DESTDIR)$(MANDIR)/man5/davit*.5
	rm -f $(DESTDIR)$(BASHDIR)/davit $(DESTDIR)$(ZSHDIR)/_davit $(DESTDIR)$(FISHDIR)/davit.fish
	rm -f $(DESTDIR)$(UNITDIR)/davit.service $(DESTDIR)$(UNITDIR)/davit-restart.service

need-root:
	@[ "$$(id -u)" = 0 ] || command -v sudo >/dev/null || { echo "containers need root: run this as root, or install sudo" >&2; exit 1; }

clean: ## remove bin/
	rm -rf bin
