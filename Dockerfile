FROM python:3.11-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /srv/solver
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --locked --no-dev --no-install-project --extra pubsub
COPY alembic.ini ./
COPY migrations migrations
COPY app app
RUN uv sync --locked --no-dev --no-editable --extra pubsub
# -P: the cache belongs beside the installed package, not beside the copy in this directory.
RUN .venv/bin/python -P -m app.domain

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /srv/solver solver
WORKDIR /srv/solver
COPY --from=build --chown=solver /srv/solver /srv/solver
ENV PATH=/srv/solver/.venv/bin:$PATH SOLVER_HOST=0.0.0.0 SOLVER_DATA_DIR=/var/lib/solver
RUN mkdir /var/lib/solver && chown solver /var/lib/solver
USER solver
EXPOSE 8080
CMD ["solver", "api"]
