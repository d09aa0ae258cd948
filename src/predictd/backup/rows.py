"""Rows as lines of JSON, the same from every database, and back."""

import base64
import hashlib
import itertools
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from predictd.backup.manifest import FileFacts, TableFacts
from predictd.db.types import UtcDateTime
from predictd.domain.errors import InvalidInputError, PlatformError
from predictd.domain.limits import MIB

BATCH = 500
# The longest rows are parts of logs.
_MOST_LINE = 16 * MIB
_PLAIN = (bool, int, float, str, dict, list, type(None))


def write_table(connection: sa.Connection, table: sa.Table, path: Path) -> TableFacts:
    """Write all rows, in the order of the primary key; the bytes are the same whichever database holds them."""
    name = f"tables/{table.name}.jsonl"
    digest, size, rows = hashlib.sha256(), 0, 0
    query = sa.select(table).order_by(*_order(connection, table)).execution_options(yield_per=BATCH)
    with path.open("wb") as file:
        for row in connection.execute(query):
            values = {column.name: _encoded(table, column, row[index]) for index, column in enumerate(table.columns)}
            line = json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n"
            file.write(line)
            digest.update(line)
            size += len(line)
            rows += 1
    return TableFacts(name=table.name, rows=rows, file=FileFacts(name=name, size=size, sha256=digest.hexdigest()))


def read_lines(file: IO[bytes], name: str) -> Iterator[dict[str, Any]]:
    """Read a file of JSON objects, one a line.

    Raises:
        InvalidInputError: a line is none, or longer than any that is written; names the file and the line.
    """
    for number in itertools.count(1):
        line = file.readline(_MOST_LINE + 1)
        if not line:
            return
        try:
            values = json.loads(line) if len(line) <= _MOST_LINE else None
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise InvalidInputError(
                f"Line {number} of {name} is no JSON object of at most {_MOST_LINE} bytes; take another copy of the "
                "export."
            )
        yield values


def read_rows(file: IO[bytes], name: str, table: sa.Table, *, is_sqlite: bool) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table, in the file of that name, in batches as they are inserted."""
    batch: list[dict[str, Any]] = []
    for values in read_lines(file, name):
        try:
            batch.append({column.name: _decoded(column, values[column.name], is_sqlite) for column in table.columns})
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidInputError(f"A row of {name} is damaged; take another copy of the export.") from error
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _order(connection: sa.Connection, table: sa.Table) -> list[sa.ColumnElement[Any]]:
    """By bytes: the order of texts in PostgreSQL is that of its locale."""
    by_bytes = connection.dialect.name == "postgresql"
    return [
        sa.collate(column, "C") if by_bytes and isinstance(column.type, sa.String) else column
        for column in table.primary_key.columns
    ]


def _encoded(table: sa.Table, column: sa.Column[Any], value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if not isinstance(value, _PLAIN):
        raise PlatformError(f"A {type(value).__name__} in {table.name}.{column.name} can't be exported.")
    return value


def _decoded(column: sa.Column[Any], value: Any, is_sqlite: bool) -> Any:
    if value is None:
        # Else a column of JSON would get JSON's own null.
        return sa.null() if isinstance(column.type, sa.JSON) and column.nullable else None
    if isinstance(column.type, UtcDateTime | sa.DateTime):
        return datetime.fromisoformat(value)
    if isinstance(column.type, sa.LargeBinary):
        return base64.b64decode(value)
    if isinstance(value, str) and not is_sqlite:
        # PostgreSQL can't keep it.
        return value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return value
