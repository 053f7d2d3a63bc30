"""Where the client finds the service."""

import json
from pathlib import Path

import pytest

from app.client import Credentials, MissingCredentials, find_credentials
from app.client.connection import is_loopback


def test_they_come_from_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text(json.dumps({"url": "http://127.0.0.1:8080/", "key": "sk_1"}))
    assert find_credentials(tmp_path) == Credentials("http://127.0.0.1:8080", "sk_1")


def test_the_environment_names_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials.json").write_text(json.dumps({"url": "http://a", "key": "sk_1"}))
    monkeypatch.setenv("SOLVER_DATA_DIR", str(tmp_path))
    assert find_credentials().url == "http://a"


@pytest.mark.parametrize("content", [None, "no json", "[]", "{}"])
def test_missing_or_broken_ones_say_where(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "credentials.json").write_text(content)
    with pytest.raises(MissingCredentials, match=r"credentials\.json"):
        find_credentials(tmp_path)


def test_a_key_is_not_shown_by_accident() -> None:
    assert "sk_secret" not in repr(Credentials("http://a", "sk_secret"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", True),
        ("http://localhost", True),
        ("http://[::1]:2", True),
        ("https://solver.test", False),
    ],
)
def test_loopback_is_recognised(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected
