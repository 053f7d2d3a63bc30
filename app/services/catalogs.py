"""What data, features and models there are, as documents that are generated from the code."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Index, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.base import PGDialect

from app.domain.features.catalog import catalog_document
from app.infra.onnx import BUNDLED, MANIFEST
from app.models import metadata

_DIALECT: PGDialect = postgresql.dialect()  # type: ignore[no-untyped-call]


def data_catalog() -> dict[str, Any]:
    """Describe every schema, table and column."""
    schemas: dict[str, list[dict[str, Any]]] = {}
    for table in sorted(metadata.tables.values(), key=lambda table: table.fullname):
        schemas.setdefault(str(table.schema), []).append(_table(table))
    return {"schemas": [{"schema": name, "tables": tables} for name, tables in sorted(schemas.items())]}


def models_catalog() -> dict[str, Any]:
    """Describe every model that is bundled, as its manifest does."""
    manifest: dict[str, Any] = json.loads((BUNDLED / MANIFEST).read_text())
    return manifest


CATALOGS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "data_catalog.json": data_catalog,
    "features_catalog.json": catalog_document,
    "models_catalog.json": models_catalog,
}


def catalog_text(name: str) -> str:
    """Write one catalog as it stands in its file."""
    return json.dumps(CATALOGS[name](), indent=2, ensure_ascii=False) + "\n"


def write_catalogs(directory: Path) -> list[Path]:
    """Write every catalog into a directory; answers the files."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / name for name in CATALOGS]
    for file in files:
        file.write_text(catalog_text(file.name))
    return files


def _table(table: Table) -> dict[str, Any]:
    uniques = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
    return {
        "table": table.name,
        "comment": table.comment,
        "primary_key": [column.name for column in table.primary_key],
        "unique": sorted([column.name for column in each.columns] for each in uniques),
        "indexes": [_index(index) for index in sorted(table.indexes, key=lambda index: str(index.name))],
        "columns": [_column(column) for column in table.columns],
    }


def _column(column: Column[Any]) -> dict[str, Any]:
    return {
        "column": column.name,
        "type": column.type.compile(_DIALECT),
        "nullable": bool(column.nullable),
        "comment": column.comment,
    }


def _index(index: Index) -> dict[str, Any]:
    condition = index.dialect_options["postgresql"].get("where")
    return {
        "index": index.name,
        "columns": [column.name for column in index.columns],
        "unique": bool(index.unique),
        "where": None if condition is None else str(condition),
    }
