PREFIX ?= /usr/local
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build run lab test e2e check churn fuzz corpus bench bench-kernel differ install clean

# The version is Go's own build information: portolan version reads it.
build:
	go build -trimpath -o bin/portolan ./cmd/portolan

run: build
	./bin/portolan demo

# A small internet in network namespaces with Portolan in its gateway, as root:
# docs/manual/lab.md. LAB="scene all" plays every scene.
lab:
	go run ./deploy/lab $(LAB)

# Every test that needs no root, also for root: those that do are e2e's.
test:
	go test -skip '_Root$$' ./...

# The tests whose names end in _Root, as root. None skips: what is missing is a
# failure. A root-only test of another name fails (docs/ARCHITECTURE.md, Tests).
e2e:
	PORTOLAN_CI=1 go test -count=1 -run '_Root$$' ./...

check:
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go test -race -short -shuffle=on -skip '^Test(Lab|LeavesNothing|[AB][0-9]+_.*)_Root$$' ./... # which run a program of their own

# 10,000 zones that come and go under queries for a minute, kept in a state
# folder and again in a folder of zones, with the race detector. In memory if
# there is a place: the disk is not what is tested.
CHURN ?= 60s
churn:
	TMPDIR=$$([ -w /dev/shm ] && echo /dev/shm || echo $${TMPDIR:-/tmp}) PORTOLAN_CHURN=$(CHURN) \
		go test -race -count=1 -timeout 15m -run '^TestChurn$$' ./daemon

# Every fuzz target, or those of one folder (PKG=./dnsserver) or name
# (FUZZ=FuzzTwin), one after another: several may run side by side. FUZZTIME is a
# time or, as 4000x, a number of inputs. New inputs of value stay in the Go cache,
# failures in testdata/fuzz of the package.
FUZZTIME ?= 1h
FUZZWORKERS ?= 1
PKG ?= ./...
FUZZ ?= ^Fuzz
fuzz:
	@bin=$$(mktemp -d) && trap 'rm -rf $$bin' EXIT && \
	go list -f '{{.ImportPath}} {{.Dir}}' $(PKG) | while read -r pkg dir; do \
		grep -qs '^func Fuzz' $$dir/*_test.go || continue; \
		go test -c -fuzz=Fuzz -o $$bin/fuzz.test $$pkg && cd $$dir || exit 1; \
		for target in $$($$bin/fuzz.test -test.list '$(FUZZ)' | grep '^Fuzz'); do \
			echo "fuzz $$pkg $$target"; \
			$$bin/fuzz.test -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 20x \
				-test.parallel $(FUZZWORKERS) -test.fuzzcachedir $$(go env GOCACHE)/fuzz/$$pkg </dev/null || exit 1; \
		done; \
	done

# Keeps what long runs have found to be of use in testdata/corpus, an input of
# at most 600 octets a line, 300 lines a target; go test replays it.
corpus:
	@for t in config/FuzzLoad dnsserver/FuzzAnswer dnsserver/FuzzCookie dnsserver/FuzzRecord \
		dnsserver/FuzzSubnet dnsserver/FuzzTwin dnsserver/FuzzZoneFile; do \
		kept=$$(dirname $$t)/testdata/corpus/$$(basename $$t).txt; mkdir -p $$(dirname $$kept); touch $$kept; \
		{ cat $$kept; find $$(go env GOCACHE)/fuzz/$$(go list -m)/$$t -type f -size -2 -exec sh -c 'tail -n +2 "$$1" | paste -sd "\t"' sh {} \; ; } \
			| awk 'length($$0) <= 600' | LC_ALL=C sort -u | shuf -n 300 --random-source=/dev/zero | LC_ALL=C sort > $$kept.new && mv $$kept.new $$kept; \
	done

# The parts, then the whole beside gdnsd and knot if they and dnsperf are
# installed; docs/performance.md says what to make of it. About six minutes. As
# root, the time from a full link to another answer, in the lab, too.
bench: build
	go test -run '^$$' -bench . -benchmem $$(go list ./... | grep -v -e deploy/gateway -e deploy/figures)
	go run ./deploy/bench check
	go run ./deploy/bench trace
	go run ./deploy/bench compare
	go run ./deploy/bench reload
	go run ./deploy/bench overload
	if [ "$$(id -u)" = 0 ]; then go run ./deploy/lab -crossings 20 scene fill; fi

# What the gateway costs in the kernel, between namespaces, as root: packets,
# connections, changes, a start, a failover, and its DNS proxy beside dnsmasq and
# unbound; then the same of server load balancing, beside a rule or a chain for
# each service. docs/performance.md, The gateway, and Server load balancing.
# About twelve minutes.
bench-kernel:
	go test -run '^$$' -bench '^Benchmark(Map|Prefixes|Slots)_Root$$' -benchtime 10x -benchmem ./kernel
	go test -timeout 20m -run '^$$' -bench '_Root$$' -benchtime 1x ./deploy/gateway
	go test -timeout 20m -run '^$$' -bench '_Root$$' -benchtime 1x ./deploy/figures

# The same random questions to nsd, knot, bind9 and gdnsd, those that are
# installed, and every difference sorted; docs/differences.md. A minute or two.
differ: build
	go run ./deploy/differ

# The program, its unit and user, and a sample configuration that never
# replaces one that is there.
install: build
	install -D -m 755 bin/portolan $(DESTDIR)$(PREFIX)/bin/portolan
	install -d $(DESTDIR)/usr/lib/systemd/system
	sed 's|/usr/local/bin|$(PREFIX)/bin|' deploy/portolan.service > $(DESTDIR)/usr/lib/systemd/system/portolan.service
	install -D -m 644 deploy/portolan.sysusers $(DESTDIR)/usr/lib/sysusers.d/portolan.conf
	install -D -m 644 deploy/portolan.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/portolan.conf
	install -d $(DESTDIR)/usr/lib/portolan
	install -m 755 deploy/hooks/* $(DESTDIR)/usr/lib/portolan
	install -m 644 deploy/gateway.conf $(DESTDIR)/usr/lib/portolan
	install -d $(DESTDIR)/etc/portolan
	test -e $(DESTDIR)/etc/portolan/portolan.yaml || install -m 640 deploy/portolan.yaml deploy/example.com.zone $(DESTDIR)/etc/portolan
	@echo "Next: systemd-sysusers; systemd-tmpfiles --create; edit /etc/portolan; systemctl enable --now portolan"

clean:
	rm -rf bin
