# Everything a developer does. `make up` and `make test` need Python, git and make, nothing else.

UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := $(UV) run --no-sync
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# `langgraph dev` reads these from the shell; in .env they would come too late.
STUDIO_ENV := LANGGRAPH_CLI_NO_ANALYTICS=1 LANGGRAPH_NO_VERSION_CHECK=true \
	LANGSMITH_TRACING=false LANGGRAPH_STRICT_MSGPACK=true

.PHONY: up test lint format studio bench browser install

up: install
	$(RUN) tenantry up --demo

test: install
	PYTHONHASHSEED=0 $(RUN) pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder \
		--durations 10  # the seed: both collect alike

lint: install
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports --no-cache

format: install
	$(RUN) ruff check --fix
	$(RUN) ruff format

studio: install
	$(STUDIO_ENV) $(RUN) langgraph dev --no-browser --n-jobs-per-worker 10

bench: install
	$(RUN) python -m bench.turn_cost

# Debian's Chromium, for the tests of the console; without it they are skipped and say so.
browser:
	@command -v chromium >/dev/null || { $(SUDO) apt-get -qq update && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends chromium >/dev/null; }

install: $(UV)
	@$(UV) sync --quiet --frozen --compile-bytecode  # a start imports a thousand modules

# Debian's Python refuses a bare `pip install`: uv gets a virtual environment of its own.
.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv
