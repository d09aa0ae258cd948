"""Filling an empty deployment from an export: all of it, or nothing that could be taken for it."""

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

from predictd.backup.containers import Reader, facts_of, opened
from predictd.backup.export import PASSING, Progress, object_name
from predictd.backup.manifest import MANIFEST, MOST_BYTES, FileFacts, Manifest
from predictd.backup.rows import BATCH, read_lines, read_rows
from predictd.db import Database
from predictd.db.database import newest_revision
from predictd.db.metadata import all_tables
from predictd.domain.errors import ConflictError, InvalidInputError, SetupError
from predictd.storage import Storage

# Says in storage that an import of this export has begun and not ended.
MARKER = "importing/manifest"
# What a deployment has before anybody used it.
_OWN_TABLES = ("secrets", "sign_in_attempts")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was imported; `resumed` says that an earlier import had been cut short."""

    manifest: Manifest
    resumed: bool


def import_everything(database: Database, storage: Storage, path: Path, progress: Progress) -> Imported:
    """Verify the export, then store its objects, then fill all tables in one transaction.

    Cut short, it leaves a marker in storage: no server starts on what is there, and the same import goes on with it.

    Raises:
        InvalidInputError: the export is damaged or of another schema; nothing was changed.
        ConflictError: the database or the storage is not empty.
    """
    with opened(path) as reader:
        manifest, digest = _manifest(reader)
        objects = _verified(reader, manifest, progress)
        with database.prepared_by_one():
            resumed = _begin(storage, digest)
            is_filled = bool(_filled_tables(database))
            if is_filled and not resumed:
                raise ConflictError(
                    f"The database is not empty: {', '.join(_filled_tables(database))}. Import into a new one: choose "
                    "another --data-dir or PREDICTD_DATABASE_URL."
                )
            if not resumed:
                _refuse_objects(storage)
                _mark(storage, digest)
            # The tables appear at once, after all objects.
            if not is_filled:
                _put_objects(reader, storage, objects, progress)
                _fill(database, reader, manifest, progress)
        storage.delete(MARKER)
    return Imported(manifest=manifest, resumed=resumed)


def refuse_unfinished_import(storage: Storage) -> None:
    """Raise SetupError when an import into this storage was cut short."""
    if storage.stat(MARKER) is not None:
        raise SetupError(
            "An import into this storage was cut short, so that what is there is not whole. Run the same "
            "`predictd import` again; it goes on where it was."
        )


def _manifest(reader: Reader) -> tuple[Manifest, str]:
    with reader.open(MANIFEST) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InvalidInputError(f"{MANIFEST} of the export is larger than {MOST_BYTES} bytes; take another copy of it.")
    manifest = Manifest.from_json(content.decode("utf-8", "replace"))
    if manifest.schema != newest_revision():
        raise InvalidInputError(
            f"The export has the schema {manifest.schema}, and this predictd has {newest_revision()}. Import it with "
            f"predictd {manifest.predictd}, or export it anew after `predictd db upgrade` there."
        )
    return manifest, hashlib.sha256(content).hexdigest()


def _verified(reader: Reader, manifest: Manifest, progress: Progress) -> list[FileFacts]:
    """Read all files once and compare; answers the objects."""
    _compare(reader, manifest.objects)
    with reader.open(manifest.objects.name) as file:
        objects = [_object(facts) for facts in read_lines(file, manifest.objects.name)]
    files = [*(table.file for table in manifest.tables), *objects]
    total, done = max(sum(file.size for file in files), 1), 0
    for expected in files:
        _compare(reader, expected)
        done += expected.size
        progress("verifying", done / total)
    return objects


def _object(facts: dict[str, Any]) -> FileFacts:
    key, size, sha256 = facts.get("key"), facts.get("size"), facts.get("sha256")
    if not isinstance(key, str) or not isinstance(size, int) or not isinstance(sha256, str):
        raise InvalidInputError("The list of the export's objects is damaged; take another copy of the export.")
    return FileFacts(name=object_name(key), size=size, sha256=sha256)


def _compare(reader: Reader, expected: FileFacts) -> None:
    found = facts_of(reader, expected.name)
    if found != expected:
        what = f"{found.size} bytes instead of {expected.size}" if found.size != expected.size else "other bytes"
        raise InvalidInputError(
            f"{expected.name} of the export is damaged: it has {what}. Nothing was imported; take another copy of it."
        )


def _begin(storage: Storage, digest: str) -> bool:
    """Whether an import of this very export was begun."""
    if storage.stat(MARKER) is None:
        return False
    with storage.local_path(MARKER) as path:
        if path.read_text(encoding="utf-8") == digest:
            return True
    raise ConflictError("The import of another export into this storage was cut short; go on with that, or empty it.")


def _mark(storage: Storage, digest: str) -> None:
    with tempfile.TemporaryDirectory(prefix="predictd-") as folder:
        path = Path(folder) / "marker"
        path.write_text(digest, encoding="utf-8")
        storage.put_file(MARKER, path)


def _refuse_objects(storage: Storage) -> None:
    found = next((one.key for one in storage.objects() if not one.key.startswith(PASSING)), None)
    if found is not None:
        raise ConflictError(
            f"The storage is not empty: it has {found}. Import into an empty one: choose another PREDICTD_STORAGE_URL."
        )


def _filled_tables(database: Database) -> list[str]:
    with database.read() as session:
        return [
            table.name
            for table in all_tables().sorted_tables
            if table.name not in _OWN_TABLES and session.execute(sa.select(table).limit(1)).first() is not None
        ]


def _put_objects(reader: Reader, storage: Storage, objects: list[FileFacts], progress: Progress) -> None:
    # What an import that was cut short has put is whole, because objects appear whole.
    there = {one.key: one.size for one in storage.objects()}
    total, done = max(sum(one.size for one in objects), 1), 0
    for number, one in enumerate(objects, 1):
        key = one.name.removeprefix("objects/")
        if there.get(key) != one.size:
            with _as_file(reader, one.name) as path:
                storage.put_file(key, path)
        done += one.size
        if number % 50 == 0 or one.size > 1 << 20 or number == len(objects):
            progress(f"{len(objects)} objects", done / total)


class _as_file:
    """A file of the export as one of this machine."""

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
        raise InvalidInputError(f"The export and this predictd have not the same tables: {', '.join(sorted(unknown))}.")
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
                raise InvalidInputError(f"The table {table.name} has not all rows of the export.")
            if not database.is_sqlite:
                _restart_numbers(session, table)
            done += facts.file.size
            progress("tables", done / total)


def _insert(session: Session, table: sa.Table, batches: Iterator[list[dict[str, Any]]]) -> None:
    """Insert the rows; what names a row of the same table is filled in once all are there."""
    own = [key.parent.name for key in table.foreign_keys if key.column.table is table]
    later: list[dict[str, Any]] = []
    primary = [column.name for column in table.primary_key.columns]
    for batch in batches:
        for row in batch if own else ():
            if any(row[name] is not None for name in own):
                later.append({f"own_{name}": row[name] for name in primary} | {name: row[name] for name in own})
                row.update(dict.fromkeys(own))
        session.execute(table.insert(), batch)
    for start in range(0, len(later), BATCH):
        same = [table.columns[name] == sa.bindparam(f"own_{name}") for name in primary]
        session.connection().execute(table.update().where(*same), later[start : start + BATCH])


def _restart_numbers(session: Session, table: sa.Table) -> None:
    """Let numbers that PostgreSQL gives out go on after those of the rows."""
    column = table.autoincrement_column
    if column is None:
        return
    quoted = session.connection().dialect.identifier_preparer.quote(table.name)
    sequence = sa.func.pg_get_serial_sequence(quoted, column.name)
    newest = session.scalar(sa.select(sa.func.max(column)))
    if newest is not None and session.scalar(sa.select(sequence)) is not None:
        session.execute(sa.select(sa.func.setval(sequence, newest)))
