# `make run` and `make test` do all set-up themselves; `make help` lists the rest.
SWIFT_FLAGS := --explicit-target-dependency-import-check error
RELEASE_FLAGS := $(SWIFT_FLAGS) -c release --static-swift-stdlib
PYTEST := .venv/bin/python -m pytest -p no:cacheprovider -q
SOURCES := Package.swift Sources Tests Examples
FUZZ_TARGETS := requests batches groups log frames
FUZZ_SECONDS := 30

.DEFAULT_GOAL := help
.PHONY: help run build test test-unit test-simulation simulate fuzz test-clients test-cluster test-cluster-long \
	test-embedding docs lint format clean

help: ## what each target does
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1: \2/p' Makefile

run: build ## build, and start the broker on 127.0.0.1:9092 with its data in ./data
	@echo "The broker starts on 127.0.0.1:9092. From another terminal, send it the first message:"
	@echo "    echo hello | kcat -b 127.0.0.1:9092 -t greetings -P"
	@echo "    kcat -b 127.0.0.1:9092 -t greetings -C -o beginning -e -q"
	.build/release/chronik-server standalone

build: ## the release programs, under .build/release
	@scripts/setup
	swift build $(RELEASE_FLAGS) --product chronik-server
	swift build $(RELEASE_FLAGS) --product chronik-bench

test: lint test-unit test-simulation fuzz test-clients test-cluster test-embedding ## everything that has to pass

test-unit: ## the unit tests and the simulations
	@scripts/setup
	swift build $(SWIFT_FLAGS) --build-tests
	scripts/unit-tests $(SWIFT_FLAGS)

test-simulation: ## ten clusters of known seeds and fifty of new ones, under faults
	@scripts/setup
	swift build $(SWIFT_FLAGS) --product chronik-sim
	.build/debug/chronik-sim cluster --seeds 1-10 --seconds 3 --processes $$(nproc)
	first=$$(date +%s) && .build/debug/chronik-sim cluster --seeds $$first-$$((first + 49)) \
		--seconds 3 --processes $$(nproc)

simulate: ## whole clusters under faults, one seed after the other, until something is found
	@scripts/setup
	swift build $(SWIFT_FLAGS) -c release --product chronik-sim
	.build/release/chronik-sim cluster --seed $${SEED:-$$(date +%s)} --endless \
		--minutes $${MINUTES:-120} --processes $${PROCESSES:-$$(nproc)}

fuzz: ## hostile bytes for every parser, FUZZ_SECONDS=30 each
	@scripts/setup
	@for target in $(FUZZ_TARGETS); do scripts/fuzz $$target $(FUZZ_SECONDS) || exit 1; done

test-clients: ## real client libraries against a real broker
	@scripts/setup --tests
	swift build $(SWIFT_FLAGS) --product chronik-server
	swift build $(SWIFT_FLAGS) --product chronik-bench
	swift build $(SWIFT_FLAGS) --product codec-probe
	swift build $(SWIFT_FLAGS) --product grpc-probe
	$(PYTEST) Tests/Clients

test-cluster: ## clusters of real processes: killed, cut off, restarted; their logs compared
	@scripts/setup --tests
	swift build $(SWIFT_FLAGS) --product chronik-server
	swift build $(SWIFT_FLAGS) --product chronik-sim
	CHRONIK_TRANSPORTS=$${CHRONIK_TRANSPORTS:-framed} $(PYTEST) Tests/Cluster

test-cluster-long: build ## the same over each transport, and 50 minutes of random faults
	@scripts/setup --tests
	swift build $(SWIFT_FLAGS) --product chronik-sim
	CHRONIK_SERVER=$(CURDIR)/.build/release/chronik-server CHRONIK_CLUSTER_ROUNDS=10 \
		CHRONIK_CLUSTER_FAILOVERS=100 CHRONIK_CLUSTER_TOPICS=2000 \
		CHRONIK_CLUSTER_PARTITIONS=1000 \
		CHRONIK_CLUSTER_SCHEDULES=50 CHRONIK_CLUSTER_SECONDS=60 $(PYTEST) Tests/Cluster

test-embedding: ## a package of its own that has nothing but the product Raft
	@scripts/setup
	swift build --package-path Tests/EmbeddingProbe --scratch-path .build/embedding \
		--product embedding-probe
	folder=$$(mktemp -d) && .build/embedding/debug/embedding-probe $$folder && rm -r $$folder

docs: ## the documentation of the Raft library, under .build/docs
	scripts/docs

lint: ## the formatter has nothing to say
	@scripts/setup
	swift format lint --strict --parallel --recursive $(SOURCES)

format: ## the sources as the formatter wants them
	swift format --in-place --parallel --recursive $(SOURCES)

clean: ## away with everything built, but not with ./data
	rm -rf .build .venv
