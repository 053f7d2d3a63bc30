from pathlib import Path

import pytest

from app.models import metadata
from app.services.catalogs import CATALOGS, catalog_text, data_catalog, write_catalogs

DIRECTORY = Path(__file__).parents[1] / "docs" / "catalogs"


@pytest.mark.parametrize("name", CATALOGS)
def test_catalog_in_the_repository_is_what_the_code_says(name: str) -> None:
    assert (DIRECTORY / name).read_text() == catalog_text(name), "run `make catalogs`"


def test_every_table_and_column_is_explained() -> None:
    tables = [table for schema in data_catalog()["schemas"] for table in schema["tables"]]
    assert len(tables) == len(metadata.tables)
    for table in tables:
        assert table["comment"], table["table"]
        assert table["primary_key"], table["table"]
        for column in table["columns"]:
            assert column["comment"], (table["table"], column["column"])


def test_writing_makes_one_file_per_catalog(tmp_path: Path) -> None:
    files = write_catalogs(tmp_path / "made")
    assert sorted(file.name for file in files) == sorted(CATALOGS)
    assert all(file.read_text() == catalog_text(file.name) for file in files)
