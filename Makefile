PYTHON ?= python3
export UV_SYSTEM_CERTS ?= 1
UV = $(shell command -v uv 2>/dev/null || echo .venv/bin/uv)
RUNTIME := .venv/.runtime
EVERYTHING := .venv/.everything
RIVALS := .venv/.rivals

.PHONY: install up test check format catalogs bench chaos clean

install: $(EVERYTHING)

# What `solver up` needs, and its kernels and modules compiled.
$(RUNTIME): pyproject.toml uv.lock
	@command -v uv >/dev/null 2>&1 || test -x .venv/bin/uv || \
		($(PYTHON) -m venv .venv && .venv/bin/python -m pip install --quiet --disable-pip-version-check uv)
	$(UV) sync --quiet --locked --no-dev --extra embedded --inexact --python $(PYTHON)
	@env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -m app.domain
	@env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -c "import app.serving, app.workers.main, app.infra.migrations"
	@touch $@

$(EVERYTHING): $(RUNTIME)
	$(UV) sync --quiet --locked --all-extras --inexact --python $(PYTHON)
	@touch $@

# What the solver is compared with; only the benchmarks need it.
$(RIVALS): $(EVERYTHING)
	$(UV) sync --quiet --locked --all-extras --group bench --inexact --python $(PYTHON)
	@touch $@

up: $(RUNTIME)
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

catalogs: install
	.venv/bin/python -c "from pathlib import Path; from app.services.catalogs import write_catalogs as write; write(Path('docs/catalogs'))"

bench: $(RIVALS)
	.venv/bin/python -m benchmarks

chaos: install
	.venv/bin/python -m tests.chaos --routes 2000 --kills 30

clean:
	rm -rf .venv .solver .pytest_cache .mypy_cache .ruff_cache
