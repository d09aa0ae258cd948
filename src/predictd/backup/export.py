"""Export a deployment to a folder or a tar file, with or without a running server."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from predictd import __version__
from predictd.backup.containers import Writer, open_writer
from predictd.backup.manifest import MANIFEST, OBJECTS, FileFacts, Manifest, TableFacts
from predictd.backup.rows import write_table
from predictd.db import Database
from predictd.db.metadata import all_tables
from predictd.db.migrations.revisions import newest_revision
from predictd.domain.errors import PlatformError, SetupError, StorageDownError
from predictd.storage import Storage, StoredObject

Progress = Callable[[str, float], None]

# Temporary objects: of storage checks, of a running import, and results of nodes.
TEMPORARY_PREFIXES = ("checks/", "importing/", "incoming/answers/")
_OBJECT_COLUMN = "storage_key"


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """The path and the manifest of an export."""

    path: Path
    manifest: Manifest


def export_deployment(database: Database, storage: Storage, path: Path, progress: Progress) -> ExportResult:
    """Export all tables at one moment, and then all objects.

    Objects are stored before the rows that refer to them and never change, so the export has all objects of the tables.
    The manifest lists objects that are deleted during the export. Requires temporary disk space for the tables.

    Raises:
        ConflictError: The path exists already.
        SetupError: The database has unknown tables.
    """
    with open_writer(path) as writer, tempfile.TemporaryDirectory(prefix="predictd-export-") as name:
        folder = Path(name)
        exported_at = datetime.now(UTC)
        tables, referenced = _write_tables(database, writer, folder, progress)
        objects, keys = _write_objects(storage, writer, folder, progress)
        listing = folder / "objects"
        listing.write_text("".join(json.dumps(_to_json(stored)) + "\n" for stored in objects), encoding="utf-8")
        manifest = Manifest(
            schema=newest_revision(),
            predictd=__version__,
            exported_at=exported_at,
            tables=tuple(tables),
            objects=writer.add(OBJECTS, listing),
            object_count=len(objects),
            object_bytes=sum(stored.size for stored in objects),
            missing=tuple(sorted(referenced - keys)),
        )
        manifest_file = folder / "manifest"
        manifest_file.write_text(manifest.to_json(), encoding="utf-8")
        writer.add(MANIFEST, manifest_file)
    return ExportResult(path=path, manifest=manifest)


def object_name(key: str) -> str:
    """Return the name in the export of the object with this key."""
    return f"objects/{key}"


def _write_tables(
    database: Database, writer: Writer, folder: Path, progress: Progress
) -> tuple[list[TableFacts], set[str]]:
    metadata = all_tables()
    written_facts: list[TableFacts] = []
    referenced: set[str] = set()
    with database.read() as session:
        connection = session.connection()
        unknown = set(sa.inspect(connection).get_table_names()) - set(metadata.tables) - {"alembic_version"}
        if unknown:
            raise SetupError(f"The database has tables that don't belong to predictd: {', '.join(sorted(unknown))}.")
        tables = metadata.sorted_tables
        for number, table in enumerate(tables):
            path = folder / table.name
            facts = write_table(connection, table, path)
            writer.add(facts.file.name, path)
            path.unlink()
            written_facts.append(facts)
            if _OBJECT_COLUMN in table.columns:
                key = table.columns[_OBJECT_COLUMN]
                query = sa.select(key).where(key.is_not(None))
                if "removed_at" in table.columns:
                    query = query.where(table.columns["removed_at"].is_(None))
                referenced |= set(connection.scalars(query))
            progress("tables", (number + 1) / len(tables))
    return written_facts, referenced


def _write_objects(
    storage: Storage, writer: Writer, folder: Path, progress: Progress
) -> tuple[list[FileFacts], set[str]]:
    stored_objects = [stored for stored in storage.objects() if not stored.key.startswith(TEMPORARY_PREFIXES)]
    total, done = max(sum(stored.size for stored in stored_objects), 1), 0
    written_facts: list[FileFacts] = []
    for number, stored in enumerate(stored_objects, 1):
        facts = _write_object(storage, writer, stored)
        if facts is not None:
            written_facts.append(facts)
        done += stored.size
        if number % 50 == 0 or stored.size > 1 << 20 or number == len(stored_objects):
            progress(f"{len(stored_objects)} objects", done / total)
    return written_facts, {stored.name.removeprefix("objects/") for stored in written_facts}


def _write_object(storage: Storage, writer: Writer, stored: StoredObject) -> FileFacts | None:
    """Copy an object; return None if it was deleted after listing."""
    try:
        with storage.local_path(stored.key) as path:
            return writer.add(object_name(stored.key), path)
    except FileNotFoundError:
        return None
    except StorageDownError:
        raise
    except PlatformError:
        if storage.stat(stored.key) is not None:
            raise
        return None


def _to_json(stored: FileFacts) -> dict[str, object]:
    return {"key": stored.name.removeprefix("objects/"), "size": stored.size, "sha256": stored.sha256}
