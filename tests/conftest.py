"""Fixtures that any test may use: real servers, started when first asked for."""

pytest_plugins = ["tests.infra.postgres_server", "tests.infra.pubsub_emulator", "tests.infra.redis_server"]
