"""Decision records name the checks that keep them true; those must exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECORDS = sorted((ROOT / "docs/decisions").glob("0*.md"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_the_checks_that_a_record_names_exist(record: Path) -> None:
    text = record.read_text()
    assert "**Checked by**" in text
    named = re.findall(r"`((?:tests|benchmarks|pyproject)[^`]*)`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_index_lists_every_record() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    assert [record.name for record in RECORDS if record.name not in index] == []
