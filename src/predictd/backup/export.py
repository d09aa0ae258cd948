"""Writing everything of a deployment to a folder or a tar file, beside a running server or without one."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from predictd import __version__
from predictd.backup.containers import Writer, written
from predictd.backup.manifest import MANIFEST, OBJECTS, FileFacts, Manifest, TableFacts
from predictd.backup.rows import write_table
from predictd.db import Database
from predictd.db.database import newest_revision
from predictd.db.metadata import all_tables
from predictd.domain.errors import PlatformError, SetupError, StorageDownError
from predictd.storage import Storage, StoredObject

Progress = Callable[[str, float], None]

# What proves that the storage can be used, and what an import leaves while it goes on.
PASSING = ("checks/", "importing/", "incoming/answers/")
_OBJECT_COLUMN = "storage_key"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written where."""

    path: Path
    manifest: Manifest


def export_everything(database: Database, storage: Storage, path: Path, progress: Progress) -> Exported:
    """Write all tables as they are at one moment, and then all objects.

    Objects are written before the rows that name them and never change, so that those of the tables are all there; what
    is deleted meanwhile is named in the manifest. Takes room for the tables in the folder for temporary files.

    Raises:
        ConflictError: there is something at the path already.
        SetupError: the database has tables that this predictd doesn't know.
    """
    with written(path) as writer, tempfile.TemporaryDirectory(prefix="predictd-export-") as name:
        folder = Path(name)
        exported_at = datetime.now(UTC)
        tables, named = _write_tables(database, writer, folder, progress)
        objects, keys = _write_objects(storage, writer, folder, progress)
        listing = folder / "objects"
        listing.write_text("".join(json.dumps(_facts(one)) + "\n" for one in objects), encoding="utf-8")
        manifest = Manifest(
            schema=newest_revision(),
            predictd=__version__,
            exported_at=exported_at,
            tables=tuple(tables),
            objects=writer.add(OBJECTS, listing),
            object_count=len(objects),
            object_bytes=sum(one.size for one in objects),
            missing=tuple(sorted(named - keys)),
        )
        last = folder / "manifest"
        last.write_text(manifest.to_json(), encoding="utf-8")
        writer.add(MANIFEST, last)
    return Exported(path=path, manifest=manifest)


def object_name(key: str) -> str:
    """Name in the export of the object of that key."""
    return f"objects/{key}"


def _write_tables(
    database: Database, writer: Writer, folder: Path, progress: Progress
) -> tuple[list[TableFacts], set[str]]:
    metadata = all_tables()
    found: list[TableFacts] = []
    named: set[str] = set()
    with database.read() as session:
        connection = session.connection()
        unknown = set(sa.inspect(connection).get_table_names()) - set(metadata.tables) - {"alembic_version"}
        if unknown:
            raise SetupError(f"The database has tables that are not predictd's: {', '.join(sorted(unknown))}.")
        tables = metadata.sorted_tables
        for number, table in enumerate(tables):
            path = folder / table.name
            facts = write_table(connection, table, path)
            writer.add(facts.file.name, path)
            path.unlink()
            found.append(facts)
            if _OBJECT_COLUMN in table.columns:
                key = table.columns[_OBJECT_COLUMN]
                query = sa.select(key).where(key.is_not(None))
                if "removed_at" in table.columns:
                    query = query.where(table.columns["removed_at"].is_(None))
                named |= set(connection.scalars(query))
            progress("tables", (number + 1) / len(tables))
    return found, named


def _write_objects(
    storage: Storage, writer: Writer, folder: Path, progress: Progress
) -> tuple[list[FileFacts], set[str]]:
    listed = [one for one in storage.objects() if not one.key.startswith(PASSING)]
    total, done = max(sum(one.size for one in listed), 1), 0
    found: list[FileFacts] = []
    for number, one in enumerate(listed, 1):
        facts = _write_object(storage, writer, one)
        if facts is not None:
            found.append(facts)
        done += one.size
        if number % 50 == 0 or one.size > 1 << 20 or number == len(listed):
            progress(f"{len(listed)} objects", done / total)
    return found, {one.name.removeprefix("objects/") for one in found}


def _write_object(storage: Storage, writer: Writer, one: StoredObject) -> FileFacts | None:
    """Copy one object; None when it was deleted since it was listed."""
    try:
        with storage.local_path(one.key) as path:
            return writer.add(object_name(one.key), path)
    except FileNotFoundError:
        return None
    except StorageDownError:
        raise
    except PlatformError:
        if storage.stat(one.key) is not None:
            raise
        return None


def _facts(one: FileFacts) -> dict[str, object]:
    return {"key": one.name.removeprefix("objects/"), "size": one.size, "sha256": one.sha256}
