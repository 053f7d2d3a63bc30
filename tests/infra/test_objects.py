import asyncio
import os
from pathlib import Path

import pytest

from app.domain.errors import Invalid, NotFound
from app.infra.objects import LocalObjects
from app.services.ports import Objects
from tests.twins import MemoryObjects


@pytest.fixture(params=["memory", "local"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return MemoryObjects() if request.param == "memory" else LocalObjects(tmp_path / "deep" / "objects")


async def test_blob_is_read_back_and_replaced(objects: Objects) -> None:
    await objects.put("archive/log/a.zip", b"one")
    assert await objects.get("archive/log/a.zip") == b"one"
    await objects.put("archive/log/a.zip", b"two")
    assert await objects.get("archive/log/a.zip") == b"two"


async def test_absent_blob_is_not_found(objects: Objects) -> None:
    await objects.put("a/b", b"")
    for name in ("b", "a", "a/b/c"):
        with pytest.raises(NotFound):
            await objects.get(name)


async def test_blobs_are_listed_in_order(objects: Objects) -> None:
    assert await objects.list() == []
    for name in ("b", "a/2", "a/1", "ab"):
        await objects.put(name, b"")
    assert await objects.list() == ["a/1", "a/2", "ab", "b"]
    assert await objects.list("a/") == ["a/1", "a/2"]
    assert await objects.list("none") == []


async def test_blobs_written_at_one_time_are_whole(objects: Objects) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    await asyncio.gather(*(objects.put("same", content) for content in contents))
    assert await objects.get("same") in contents
    assert await objects.list() == ["same"]


@pytest.mark.parametrize(
    "name", ["", "../a", "/etc/a", "a/../b", "a//b", "a/", ".hidden", "a\x00", "ü", "a\\b", "x" * 300]
)
async def test_only_plain_relative_names_reach_the_disk(tmp_path: Path, name: str) -> None:
    objects = LocalObjects(tmp_path / "objects")
    with pytest.raises(Invalid):
        await objects.put(name, b"")
    with pytest.raises(Invalid):
        await objects.get(name)
    assert os.listdir(tmp_path) == []
