"""The real Pub/Sub emulator for tests, as a plain Java child on a free loopback port."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.children import ServerChild

JAR_SETTING = "PUBSUB_EMULATOR_JAR"
_INSIDE_SDK = "platform/pubsub-emulator/lib"
_WELL_KNOWN_SDKS = (
    "/usr/lib/google-cloud-sdk",
    "/usr/share/google-cloud-sdk",
    "/opt/google-cloud-sdk",
    "/google-cloud-sdk",
    "/usr/local/share/google-cloud-sdk",
    "/opt/homebrew/share/google-cloud-sdk",
    "/snap/google-cloud-sdk/current",
    "~/google-cloud-sdk",
)


@dataclass(frozen=True, slots=True)
class PubSubEmulator:
    """A running emulator; `child` stops and restarts it, which empties it."""

    host: str
    child: ServerChild


@contextmanager
def running_emulator() -> Iterator[PubSubEmulator]:
    """Run the emulator. Skips the test, saying what to install, where there is none."""
    java = shutil.which("java")
    jar = _find_jar()
    if java is None or jar is None:
        missing = "Java" if java is None else "the Pub/Sub emulator"
        pytest.skip(
            f"WARNING: PUB/SUB IS NOT TESTED HERE, {missing} is not installed: "
            f"`gcloud components install pubsub-emulator` (or set {JAR_SETTING}) and a Java runtime"
        )
    port = _free_port()
    # Compiled once and lightly, the emulator starts in a third of the time.
    virtual_machine = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]
    child = ServerChild(
        [java, *virtual_machine, "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"],
        ready_text="Server started, listening on",
        start_within_s=60.0,
    )
    try:
        child.start()
        yield PubSubEmulator(host=f"127.0.0.1:{port}", child=child)
    finally:
        child.kill()


def _find_jar() -> Path | None:
    named = os.environ.get(JAR_SETTING)
    if named:
        return Path(named)
    sdks = [Path(sdk).expanduser() for sdk in _WELL_KNOWN_SDKS]
    gcloud = shutil.which("gcloud")
    if gcloud is not None:
        sdks.insert(0, Path(gcloud).resolve().parents[1])
    for sdk in sdks:
        jars = sorted((sdk / _INSIDE_SDK).glob("cloud-pubsub-emulator-*-all.jar"))
        if jars:
            return jars[-1]
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
