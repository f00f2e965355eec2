# Short names for what CONTRIBUTING.md asks for. `make check` is what CI runs.
BIN := .venv/bin
.PHONY: check test quick lint format wheel clean fuzz

check: ## everything, as CI runs it
	.ci/run

.venv/.ready: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[test,lint]'
	touch $@

.PHONY: venv
venv: .venv/.ready ## .venv with the project (editable), tests and lint tools; the page's tests want the extra e2e too

test: venv ## the whole suite
	$(BIN)/python -m pytest -n 3

quick: venv ## the suite without the slow tests
	$(BIN)/python -m pytest -m 'not slow'

fuzz: venv ## 50,000 odd answers to each parser of a gateway; FUZZ="--seed 7" for others
	$(BIN)/python -m tests.providers.fuzz --examples 50000 $(FUZZ)
	WIRE_FUZZ=5000 $(BIN)/python -m pytest -q tests/transport/test_wire_fuzz.py

.PHONY: chaos chaos-small
chaos: venv ## every campaign at its merge size and every mutant, over an hour on 2 cores; CHAOS="kills --seed 7" for one
	$(BIN)/python -m tests.chaos --size merge $(CHAOS)
ifeq ($(strip $(CHAOS)),)
	$(MAKE) model-large mutants
endif

.PHONY: model-large
model-large: venv ## the larger worlds of the walk over every interleaving
	PIPELINE_MODEL=large $(BIN)/python -m pytest -q -o faulthandler_timeout=3600 tests/engine/test_model_check.py

chaos-small: venv ## every campaign at its small size, within 3 minutes on 2 cores
	$(BIN)/python -m tests.chaos --size small $(CHAOS)

.PHONY: mutants
mutants: venv ## seed one bug at a time in a copy, see which test catches it; MUTANTS="--only 'settle twice'" for one
	$(BIN)/python -m tests.mutants --jobs 2 $(MUTANTS)

.PHONY: bench bench-small bench-peers
bench: venv ## P1 to P10 at full size, hours, into tests/benchmarks/RESULTS.md; BENCH="--only P1,P2 --tasks 3000" for less
	$(BIN)/python -m tests.benchmarks $(or $(BENCH),--write tests/benchmarks/RESULTS.md)

bench-small: venv ## all of them at small sizes, within 3 minutes on 2 idle cores
	$(BIN)/python -m tests.benchmarks --small $(BENCH)

.venv-peers/.ready:
	python3 -m venv .venv-peers
	.venv-peers/bin/pip install -q aiohttp litellm bespokelabs-curator 'ray[data,serve]' torch
	touch $@

bench-peers: venv .venv-peers/.ready ## other tools on the same stub, in an environment of their own; needs a network once
	$(BIN)/python -m tests.benchmarks.peers --python .venv-peers/bin/python $(BENCH)

lint: venv ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv ## format and mend what can be mended by machine
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

wheel: venv ## dist/*.whl, without a network
	$(BIN)/python -m build --no-isolation --wheel

clean: ## remove what can be made again (never runs/)
	rm -rf dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
