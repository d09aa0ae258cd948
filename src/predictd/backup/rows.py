"""Convert rows to lines of JSON, identical for every database, and back."""

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

BATCH_ROWS = 500
# The longest rows are chunks of logs.
_MAX_LINE_BYTES = 16 * MIB
_JSON_TYPES = (bool, int, float, str, dict, list, type(None))


def write_table(connection: sa.Connection, table: sa.Table, path: Path) -> TableFacts:
    """Write all rows in the order of the primary key; the bytes don't depend on the database."""
    name = f"tables/{table.name}.jsonl"
    digest, size, rows = hashlib.sha256(), 0, 0
    query = sa.select(table).order_by(*_primary_key_order(connection, table)).execution_options(yield_per=BATCH_ROWS)
    with path.open("wb") as file:
        for row in connection.execute(query):
            values = {column.name: _encode(table, column, row[index]) for index, column in enumerate(table.columns)}
            line = json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n"
            file.write(line)
            digest.update(line)
            size += len(line)
            rows += 1
    return TableFacts(name=table.name, rows=rows, file=FileFacts(name=name, size=size, sha256=digest.hexdigest()))


def read_lines(file: IO[bytes], name: str) -> Iterator[dict[str, Any]]:
    """Read a file of JSON objects, one per line.

    Raises:
        InvalidInputError: A line is invalid or too long; the message has the file and the line.
    """
    for number in itertools.count(1):
        line = file.readline(_MAX_LINE_BYTES + 1)
        if not line:
            return
        try:
            values = json.loads(line) if len(line) <= _MAX_LINE_BYTES else None
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise InvalidInputError(
                f"Line {number} of {name} is not a JSON object of at most {_MAX_LINE_BYTES} bytes. Use another copy of "
                "the export."
            )
        yield values


def read_rows(file: IO[bytes], name: str, table: sa.Table, *, is_sqlite: bool) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a table from its file, in batches to insert."""
    batch: list[dict[str, Any]] = []
    for values in read_lines(file, name):
        try:
            batch.append({column.name: _decode(column, values[column.name], is_sqlite) for column in table.columns})
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidInputError(f"A row of {name} is damaged. Use another copy of the export.") from error
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _primary_key_order(connection: sa.Connection, table: sa.Table) -> list[sa.ColumnElement[Any]]:
    """Return the columns to order by, by bytes, because PostgreSQL orders texts by locale."""
    is_postgresql = connection.dialect.name == "postgresql"
    return [
        sa.collate(column, "C") if is_postgresql and isinstance(column.type, sa.String) else column
        for column in table.primary_key.columns
    ]


def _encode(table: sa.Table, column: sa.Column[Any], value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if not isinstance(value, _JSON_TYPES):
        raise PlatformError(f"A {type(value).__name__} in {table.name}.{column.name} can't be exported.")
    return value


def _decode(column: sa.Column[Any], value: Any, is_sqlite: bool) -> Any:
    if value is None:
        # Otherwise a JSON column would get a JSON null.
        return sa.null() if isinstance(column.type, sa.JSON) and column.nullable else None
    if isinstance(column.type, UtcDateTime | sa.DateTime):
        return datetime.fromisoformat(value)
    if isinstance(column.type, sa.LargeBinary):
        return base64.b64decode(value)
    if isinstance(value, str) and not is_sqlite:
        # PostgreSQL can't store NUL.
        return value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return value
