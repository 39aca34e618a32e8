# Everything a developer runs. `make help` lists it.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
export CGO_ENABLED = 0
LDFLAGS = -s -w -X main.version=$(VERSION)

.PHONY: help build demo test race lint units nspawn fuzz chaos-sim model lab-up lab-down e2e e2e-full e2e-chaos bench bench-false bench-false-real bench-scale generate clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/ninelives, one static binary
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ninelives ./cmd/ninelives

demo: build ## a simulated cloud, the whole product, and a plug that is pulled
	bin/ninelives demo --hosts 12 --vms 120 --cut host-03 --exit

test: ## vet and all quick tests (under a minute once built)
	$(GO) vet ./...
	$(GO) test ./...

race: ## the same tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race ./...

lint: ## formatting, staticcheck, dead code
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) tool -modfile=tools.mod staticcheck ./...
	@dead=$$($(GO) tool -modfile=tools.mod deadcode -test ./...) && { test -z "$$dead" || { echo "$$dead"; exit 1; }; }

units: ## the systemd units, by systemd-analyze
	deploy/check-units

nspawn: build ## boot the units in a container: nothing starts before the gate opens (root)
	deploy/test-nspawn bin/ninelives

fuzz: ## every fuzz target for 10 s
	./test/fuzz 10s

model: ## the protocol's model, checked by spin, with each protection on and off
	./test/model/check

chaos-sim: ## server processes killed, paused, cut off, upgraded and misused, on the simulated cloud (an hour)
	$(GO) test -tags attack -count=1 -run 'AttackLeader|AttackFive|AttackUpgrade|AttackCluster' -timeout 120m -v ./internal/sim/demo -parallel 3 -seeds 3
	$(GO) test -tags attack -count=1 -run AttackClusterUse -timeout 20m -v ./internal/cli

lab-up: build ## a real OpenStack with fenced compute hosts on this machine (Debian 12, root)
	test/lab/up

lab-down: ## stop it and leave nothing behind
	test/lab/down --wipe

e2e: build ## the rows every change must pass, on the real lab
	$(GO) test -tags e2e -count=1 -timeout 55m ./test/e2e -v

e2e-full: build ## all rows
	NINELIVES_E2E=full $(GO) test -tags e2e -count=1 -timeout 120m ./test/e2e -v

e2e-chaos: build ## three servers on the lab, each in a network namespace, broken in the middle of their work (25 min)
	NINELIVES_E2E=chaos $(GO) test -tags e2e -count=1 -timeout 60m -run TestChaos ./test/e2e -v

bench: build ## the figures of docs/figures.md: the demo, an agent's cost, recovery against a bare loop (20 min)
	$(GO) test -tags bench -count=1 -timeout 60m ./test/bench -v

bench-scale: ## one server against 1,000, 3,000 and 10,000 agents on loopback; NINELIVES_SCALE=1000 for less
	$(GO) test -tags scale -count=1 -timeout 30m ./test/scale -v

bench-false: ## no false verdict: 1,000 hosts, 24 simulated hours, and the server in trouble (10 min of a free core)
	NINELIVES_FALSE_HOSTS=1000 NINELIVES_FALSE_HOURS=24 $(GO) test -count=1 -timeout 180m -run TestNoFalseVerdicts -v ./internal/sim/quiet

bench-false-real: build ## the same for some minutes on real networks: namespaces, iptables' loss, stopped processes (root)
	@trap test/falseverdict/clean EXIT; trap 'exit 1' HUP INT TERM; $(GO) test -tags bench -count=1 -timeout 60m ./test/falseverdict -v

.PHONY: soak soak-planted FORCE
# The soak's own Go: the same code of ours, on a runtime that leaves nothing to chance.
REPLAY = bin/.replay/overlay.json
N ?= 1000
FROM ?= 10001

bin/soak: FORCE
	$(GO) run ./test/replay bin/.replay
	$(GO) test -tags replay -overlay $(REPLAY) -c -o $@ ./internal/sim/soak

soak: bin/soak ## N random schedules of faults on three simulated servers, on two cores (SEED=n replays one with its trace)
	@if [ -n "$(SEED)" ]; then bin/soak -test.run 'TestSoak$$' -soak.seed $(SEED); else \
	bin/soak -test.timeout 0 -test.v -test.run 'TestSoak$$' -soak.n $$(($(N)/2)) -soak.from $(FROM) -soak.step 2 & \
	bin/soak -test.timeout 0 -test.v -test.run 'TestSoak$$|TestCrashPoints$$|TestPausePoints$$' -soak.crash 1 -soak.pause 1 -soak.n $$(($(N)-$(N)/2)) -soak.from $$(($(FROM)+1)) -soak.step 2; second=$$?; \
	wait $$! && exit $$second; fi

soak-planted: ## after how many schedules the soak finds each planted bug
	$(GO) run ./test/replay bin/.replay
	$(GO) test -tags 'replay planted' -overlay $(REPLAY) -c -o bin/soak-planted ./internal/sim/soak
	@for bug in $$(sed -n 's/.*bug == "\(.*\)"/\1/p' internal/planted/planted_on.go); do \
	printf '%-16s ' "$$bug"; NINELIVES_PLANTED=$$bug bin/soak-planted -test.v -test.run 'TestSoak$$' -soak.until -soak.replay 0 -soak.n $(N) | grep -e 'found after' -e 'schedules in'; done

FORCE:

generate: ## the pages that are made from code
	$(GO) test ./internal/house -run Pages -update
	$(GO) test ./internal/api -run TheDescription -update
	$(GO) test ./internal/cli -run TestHelp -update

clean:
	rm -rf bin dist
