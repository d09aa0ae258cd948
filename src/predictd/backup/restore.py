"""Import an export into an empty deployment, completely or not at all."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from predictd.backup.containers import Reader, open_reader, read_facts
from predictd.backup.export import TEMPORARY_PREFIXES, Progress, object_name
from predictd.backup.manifest import MANIFEST, MAX_MANIFEST_BYTES, FileFacts, Manifest
from predictd.backup.rows import BATCH_ROWS, read_lines, read_rows
from predictd.db import Database
from predictd.db.metadata import all_tables
from predictd.db.migrations.revisions import newest_revision
from predictd.domain.errors import ConflictError, InvalidInputError, SetupError
from predictd.storage import Storage

# Marks in storage that an import has started and not finished.
MARKER = "importing/manifest"
# Tables that are filled in an unused deployment.
_OWN_TABLES = ("secrets", "sign_in_attempts")


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """The imported manifest; `resumed` is whether an earlier import was interrupted."""

    manifest: Manifest
    resumed: bool


def import_deployment(database: Database, storage: Storage, path: Path, progress: Progress) -> ImportResult:
    """Verify the export, then store its objects, then fill all tables in one transaction.

    An interrupted import leaves a marker in storage: no server starts with it, and the same import can be resumed.

    Raises:
        InvalidInputError: The export is damaged or has another schema; nothing was changed.
        ConflictError: The database or the storage is not empty.
    """
    with open_reader(path) as reader:
        manifest, digest = _read_manifest(reader)
        objects = _verify(reader, manifest, progress)
        with database.prepared_by_one():
            resumed = _is_resumed(storage, digest)
            is_filled = bool(_filled_tables(database))
            if is_filled and not resumed:
                raise ConflictError(
                    f"The database is not empty: {', '.join(_filled_tables(database))}. Import into a new one: choose "
                    "another --data-dir or PREDICTD_DATABASE_URL."
                )
            if not resumed:
                _refuse_objects(storage)
                _mark(storage, digest)
            # The tables are filled in one transaction, after all objects.
            if not is_filled:
                _put_objects(reader, storage, objects, progress)
                _fill(database, reader, manifest, progress)
        storage.delete(MARKER)
    return ImportResult(manifest=manifest, resumed=resumed)


def refuse_unfinished_import(storage: Storage) -> None:
    """Raise SetupError if an import into this storage was interrupted."""
    if storage.stat(MARKER) is not None:
        raise SetupError(
            "An import into this storage was interrupted, so its content is incomplete. Run the same "
            "`predictd import` again to resume it."
        )


def _read_manifest(reader: Reader) -> tuple[Manifest, str]:
    with reader.open(MANIFEST) as file:
        content = file.read(MAX_MANIFEST_BYTES + 1)
    if len(content) > MAX_MANIFEST_BYTES:
        raise InvalidInputError(
            f"{MANIFEST} of the export is larger than {MAX_MANIFEST_BYTES} bytes. Use another copy."
        )
    manifest = Manifest.from_json(content.decode("utf-8", "replace"))
    if manifest.schema != newest_revision():
        raise InvalidInputError(
            f"The export has the schema {manifest.schema}, but this predictd has {newest_revision()}. Import it with "
            f"predictd {manifest.predictd}, or export it again after `predictd db upgrade` there."
        )
    return manifest, hashlib.sha256(content).hexdigest()


def _verify(reader: Reader, manifest: Manifest, progress: Progress) -> list[FileFacts]:
    """Verify all files and return the objects."""
    _compare(reader, manifest.objects)
    with reader.open(manifest.objects.name) as file:
        objects = [_parse_object(facts) for facts in read_lines(file, manifest.objects.name)]
    files = [*(table.file for table in manifest.tables), *objects]
    total, done = max(sum(file.size for file in files), 1), 0
    for expected in files:
        _compare(reader, expected)
        done += expected.size
        progress("verifying", done / total)
    return objects


def _parse_object(facts: dict[str, Any]) -> FileFacts:
    key, size, sha256 = facts.get("key"), facts.get("size"), facts.get("sha256")
    if not isinstance(key, str) or not isinstance(size, int) or not isinstance(sha256, str):
        raise InvalidInputError("The list of the export's objects is damaged. Use another copy of the export.")
    return FileFacts(name=object_name(key), size=size, sha256=sha256)


def _compare(reader: Reader, expected: FileFacts) -> None:
    actual = read_facts(reader, expected.name)
    if actual != expected:
        difference = (
            f"{actual.size} bytes instead of {expected.size}" if actual.size != expected.size else "other content"
        )
        raise InvalidInputError(
            f"{expected.name} of the export is damaged: it has {difference}. Nothing was imported. Use another copy."
        )


def _is_resumed(storage: Storage, digest: str) -> bool:
    """Return whether an import of this export was started before."""
    if storage.stat(MARKER) is None:
        return False
    with storage.local_path(MARKER) as path:
        if path.read_text(encoding="utf-8") == digest:
            return True
    raise ConflictError("Another import into this storage was interrupted. Resume that one, or empty the storage.")


def _mark(storage: Storage, digest: str) -> None:
    with tempfile.TemporaryDirectory(prefix="predictd-") as folder:
        path = Path(folder) / "marker"
        path.write_text(digest, encoding="utf-8")
        storage.put_file(MARKER, path)


def _refuse_objects(storage: Storage) -> None:
    key = next((item.key for item in storage.objects() if not item.key.startswith(TEMPORARY_PREFIXES)), None)
    if key is not None:
        raise ConflictError(
            f"The storage is not empty: it has {key}. Import into an empty one: choose another PREDICTD_STORAGE_URL."
        )


def _filled_tables(database: Database) -> list[str]:
    with database.read() as session:
        return [
            table.name
            for table in all_tables().sorted_tables
            if table.name not in _OWN_TABLES and session.execute(sa.select(table).limit(1)).first() is not None
        ]


def _put_objects(reader: Reader, storage: Storage, objects: list[FileFacts], progress: Progress) -> None:
    # Objects of an interrupted import are complete, because objects appear atomically.
    stored_sizes = {item.key: item.size for item in storage.objects()}
    total, done = max(sum(item.size for item in objects), 1), 0
    for number, item in enumerate(objects, 1):
        key = item.name.removeprefix("objects/")
        if stored_sizes.get(key) != item.size:
            with _TemporaryFile(reader, item.name) as path:
                storage.put_file(key, path)
        done += item.size
        if number % 50 == 0 or item.size > 1 << 20 or number == len(objects):
            progress(f"{len(objects)} objects", done / total)


class _TemporaryFile:
    """A temporary copy of a file of the export."""

    def __init__(self, reader: Reader, name: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="predictd-")
        self._path = Path(self._folder.name) / "object"
        with reader.open(name) as file, self._path.open("wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _fill(database: Database, reader: Reader, manifest: Manifest, progress: Progress) -> None:
    metadata = all_tables()
    unknown = {facts.name for facts in manifest.tables} ^ set(metadata.tables)
    if unknown:
        raise InvalidInputError(f"The export and this predictd have different tables: {', '.join(sorted(unknown))}.")
    rows = {facts.name: facts for facts in manifest.tables}
    total, done = max(sum(facts.file.size for facts in manifest.tables), 1), 0
    with database.write() as session:
        for name in _OWN_TABLES:
            session.execute(metadata.tables[name].delete())
        for table in metadata.sorted_tables:
            facts = rows[table.name]
            try:
                with reader.open(facts.file.name) as file:
                    _insert(session, table, read_rows(file, facts.file.name, table, is_sqlite=database.is_sqlite))
            except DBAPIError as error:
                raise InvalidInputError(f"The table {table.name} can't be imported: {error.orig}") from error
            if session.scalar(sa.select(sa.func.count()).select_from(table)) != facts.rows:
                raise InvalidInputError(f"The table {table.name} does not have all rows of the export.")
            if not database.is_sqlite:
                _restart_sequence(session, table)
            done += facts.file.size
            progress("tables", done / total)


def _insert(session: Session, table: sa.Table, batches: Iterator[list[dict[str, Any]]]) -> None:
    """Insert the rows; set references to rows of the same table after all rows are inserted."""
    own_columns = [key.parent.name for key in table.foreign_keys if key.column.table is table]
    updates: list[dict[str, Any]] = []
    primary = [column.name for column in table.primary_key.columns]
    for batch in batches:
        for row in batch if own_columns else ():
            if any(row[name] is not None for name in own_columns):
                updates.append(
                    {f"own_{name}": row[name] for name in primary} | {name: row[name] for name in own_columns}
                )
                row.update(dict.fromkeys(own_columns))
        session.execute(table.insert(), batch)
    for start in range(0, len(updates), BATCH_ROWS):
        conditions = [table.columns[name] == sa.bindparam(f"own_{name}") for name in primary]
        session.connection().execute(table.update().where(*conditions), updates[start : start + BATCH_ROWS])


def _restart_sequence(session: Session, table: sa.Table) -> None:
    """Let PostgreSQL continue its sequence after the ids of the rows."""
    column = table.autoincrement_column
    if column is None:
        return
    quoted = session.connection().dialect.identifier_preparer.quote(table.name)
    sequence = sa.func.pg_get_serial_sequence(quoted, column.name)
    highest = session.scalar(sa.select(sa.func.max(column)))
    if highest is not None and session.scalar(sa.select(sequence)) is not None:
        session.execute(sa.select(sa.func.setval(sequence, highest)))
