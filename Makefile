PYTHON ?= python3
export UV_SYSTEM_CERTS ?= 1
export UV_COMPILE_BYTECODE = 1
UV := $(shell command -v uv 2>/dev/null || echo .venv/bin/uv)
STAMP := .venv/.installed

.PHONY: install up test check format bench chaos clean

install: $(STAMP)

$(STAMP): pyproject.toml uv.lock
	@command -v uv >/dev/null 2>&1 || test -x .venv/bin/uv || \
		($(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet --disable-pip-version-check uv)
	$(UV) sync --locked --all-extras --inexact --python $(PYTHON)
	@.venv/bin/python -m app.domain.solver
	@touch $@

up: install
	@.venv/bin/solver up

test: install
	.venv/bin/pytest -q

check: install
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/pytest -q -p no:cacheprovider tests/infra/test_migrations.py tests/test_catalogs.py

format: install
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: install
	.venv/bin/python -m benchmarks

chaos: install
	.venv/bin/python -m tests.chaos --routes 2000 --kills 30

clean:
	rm -rf .venv .solver .pytest_cache .mypy_cache .ruff_cache
