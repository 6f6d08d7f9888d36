# Every target sets itself up: python3 (3.11 or newer) and make are enough. See scripts/setup.py.
PYTHON3 ?= python3
WORKERS ?= 4
FROM ?= 0
SEEDS ?= 5000
SECONDS ?= 60
RUN := .venv/bin/python
LONG_LIMITS := --timeout=1200 -o faulthandler_timeout=1190

# Tests start hundreds of interpreters: each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-check test test-all test-real lint format bench docs sim fuzz wheel clean .setup-demo .setup-wheel .setup-crewai .setup-agents .test-main .test-crewai

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## everything for development: .venv, and a browser for the dashboard's tests where it may be installed
	@$(PYTHON3) scripts/setup.py dev

.setup-demo:
	@$(PYTHON3) scripts/setup.py demo

.setup-wheel:
	@$(PYTHON3) scripts/setup.py wheel

.setup-crewai: # CrewAI pins other versions of what the rest uses
	@$(PYTHON3) scripts/setup.py crewai

.setup-agents: # what only test-all tests
	@$(PYTHON3) scripts/setup.py agents

demo: .setup-demo ## a whole fleet on this machine, with real engines, until Ctrl-C
	@$(RUN) -m demo.run

demo-check: .setup-demo ## the same fleet, checked from outside, then ended
	@$(RUN) -m demo.run --check

test: setup .setup-crewai ## every test, and lint beside them
	@$(MAKE) --no-print-directory --jobs=3 lint .test-crewai .test-main

.test-main: # in a fresh checkout the tests are compiled once, not by every worker at the same time
	@test -d tests/__pycache__ || $(RUN) -m pytest --collect-only -qq > /dev/null || true
	@$(RUN) -m pytest -n $(WORKERS) --dist loadgroup --durations=15

.test-crewai:
	@.venv-crewai/bin/python -m pytest tests/agents/crewai --durations=5

test-all: setup .setup-crewai .setup-agents lint ## every test with its long loops: 200 kills, searches over 20,000 schedules, a million frames
	@LONG_TESTS=1 $(RUN) -m pytest -n $(WORKERS) --dist loadgroup --durations=15 $(LONG_LIMITS)
	@LONG_TESTS=1 .venv-crewai/bin/python -m pytest tests/agents/crewai --durations=5 $(LONG_LIMITS)
	@LONG_TESTS=1 .venv-agents/bin/python -m pytest tests/agents/adk tests/agents/agent_framework tests/agents/llamaindex --durations=5 $(LONG_LIMITS)
	@PROPAGUL_KERNEL=off $(RUN) -m pytest -n $(WORKERS) --dist loadgroup tests/crdt tests/log tests/state tests/store

test-real: setup ## the contract of engines against a real Ollama, vLLM or llama-server found on this machine
	@$(RUN) -m tests.backends.real

sim: setup ## the simulators over SEEDS schedules from FROM on; a failure prints the line that replays it
	@$(RUN) -m tests.state.simulator $(FROM) $(SEEDS)
	@$(RUN) -m tests.gossip.simulator $(FROM) $(SEEDS)
	@$(RUN) -m tests.gossip.audit $(FROM) $(SEEDS)
	@$(RUN) -m tests.reconcile.simulator $(FROM) $$(( $(SEEDS) / 5 ))

fuzz: setup ## hostile bytes for every decoder, for SECONDS by seeds from FROM on, then for SECONDS where coverage leads
	@$(RUN) -m tests.fuzz $(FROM) $(SECONDS)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --group fuzz || true
	@$(RUN) -m tests.guided $(SECONDS)

lint: setup ## format, lint, types and the arrows between the rooms
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	@$(RUN) -m mypy
	@.venv/bin/lint-imports --no-cache --no-logo

format: setup ## rewrite what the formatter and the linter can mend
	@$(RUN) -m ruff check --fix
	@$(RUN) -m ruff format

bench: .setup-demo ## the benchmarks that exist, one table each
	@$(RUN) -m benchmarks

docs: setup ## the documentation, into site/
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

wheel: .setup-wheel ## the wheel, one with the compiled kernel where a C compiler is, the source archive, into dist/
	@$(RUN) -m build --no-isolation --outdir dist
	@HATCH_BUILD_NO_HOOKS=true $(RUN) -m build --no-isolation --wheel --outdir dist

clean: ## remove everything that was built, .venv too
	@rm -rf propagul/_kernel*.so .venv .venv-* .bench .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist site tests/artifacts
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
