.DEFAULT_GOAL := help
# Two files at a time: the tests of a file share a server.
TWO := -n 2 --dist loadfile
# Tests that start PostgreSQL themselves, or that test runs and runtimes rather than the database.
ONCE := $(addprefix --ignore tests/server/test_,several_servers.py export.py bad_input.py custom_runtimes.py rehearsal.py \
	same_as_local.py speed.py check_with_server.py upload_check.py monitoring.py sound.py connections.py slow_requests.py)
.PHONY: help setup demo test check wheel locks bench load faults screenshots clean

help: ## Show this list
	@echo "predictd: an open, self-hosted Model Uploads platform"; echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo; echo "It needs Python 3.11 to 3.13 (found automatically, or PYTHON=/path/to/python3.12) and the package index."

setup: ## Create .venv with everything in it (quick when nothing changed)
	@scripts/bootstrap

demo: ## Start a server, upload a model and follow two rounds; ARGS=--keep leaves it running
	@scripts/bootstrap --need-sandbox
	.venv/bin/python scripts/demo.py $(ARGS)

test: check ## Check, then run the tests on SQLite and, where it is installed, on PostgreSQL; ARGS goes to pytest and leaves out the hostile models
	.venv/bin/python scripts/prepare_tests.py
	$(if $(ARGS),.venv/bin/python -m pytest --ignore tests/hostile $(ARGS),.venv/bin/python -m pytest $(TWO) --ignore tests/hostile)
	$(if $(ARGS),,.venv/bin/python -m pytest -n 2 tests/hostile)
	@if .venv/bin/python tests/database.py; then \
		.venv/bin/python -m pytest $(if $(ARGS),$(ARGS),$(TWO)) --database postgresql $(ONCE) tests/server; \
	else echo "PostgreSQL is not installed, so the tests ran on SQLite only (Debian: apt-get install postgresql)"; fi

check: setup ## Lint, formatting, types, that imports point down, the Dockerfiles, and the words
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/hadolint deploy/docker/*/Dockerfile
	.venv/bin/python scripts/word_check.py

wheel: setup ## Build dist/predictd-*.whl, to install on machines that have no clone
	.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

locks: setup ## Update the lock files to the newest versions
	@scripts/locks

bench: setup ## Measure speed and memory against the public runner; ONLY=trivial_run measures that alone
	.venv/bin/python benchmarks/bench.py $(if $(ONLY),--only $(ONLY)) $(ARGS)

load: setup ## Run a round of 1,000 models and 50 large uploads on a real server; ARGS goes to benchmarks/load.py
	PYTHONPATH=tests .venv/bin/python benchmarks/load.py $(ARGS)

faults: setup ## Inject faults into a running server: each at 20 moments of 200 runs; ARGS="--fault server --seed 1234" for one
	.venv/bin/python scripts/prepare_tests.py
	PYTHONPATH=tests .venv/bin/python -m faults $(ARGS)

screenshots: ## Take new pictures of every page for docs/screenshots (Debian: chromium)
	@scripts/bootstrap --need-sandbox
	.venv/bin/python scripts/screenshots.py $(ARGS)

clean: ## Remove .venv and the caches of tools; never the data of a server
	rm -rf .venv .cache dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
