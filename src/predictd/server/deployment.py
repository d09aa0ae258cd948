"""The parts of one deployment, opened from its settings; what the server and the organiser's commands share."""

import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from predictd.db import Database
from predictd.db.secrets import shared_secret
from predictd.domain.errors import SetupError
from predictd.settings import Settings, refuse_example_secrets
from predictd.storage import Storage, open_storage

# Name of the key of URLs by which the server itself takes uploads for a bucket.
STORAGE_KEY = "storage"
_PRIVATE_FOLDERS = ("storage", "objects", "mapped", "tmp")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """An open deployment: its settings, its database (up to date) and its storage."""

    settings: Settings
    database: Database
    storage: Storage


def open_deployment(settings: Settings, base_url: str = "") -> Deployment:
    """Open the data dir and the database, making both where they are missing.

    Raises:
        SetupError: the data dir or the storage's folder can't be written to or closed to other users, a secret is that
            of an example, or the schema does not suit.
        InvalidInputError: the storage's URL can't be taken.
    """
    refuse_example_secrets(settings)
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close_folders(home)
        database = Database(settings.resolved_database_url)
        storage = storage_of(settings, database, base_url)
    except OSError as error:
        folder = settings.storage_url or home
        raise SetupError(
            f"The folder {folder} can't be used: {error.strerror}. Choose another with --data-dir or "
            "PREDICTD_STORAGE_URL."
        ) from error
    if settings.auto_upgrade:
        database.upgrade()
    else:
        database.check()
    return Deployment(settings=settings, database=database, storage=storage)


def _close_folders(home: Path) -> None:
    """Close the folders of pickles and data to other users, also where the data dir itself is open to them.

    The data dir is left as it is: it may be a folder that others need, and its runtimes are no secret.

    Raises:
        OSError: a folder is open to others and belongs to another user.
    """
    for name in _PRIVATE_FOLDERS:
        folder = home / name
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(folder.stat().st_mode)
            if mode & 0o077:
                folder.chmod(mode & 0o700)


def storage_of(settings: Settings, database: Database, base_url: str = "") -> Storage:
    """Open the storage; a folder is made where it is missing, a bucket is not asked yet.

    Raises:
        InvalidInputError: the storage's URL can't be taken.
        OSError: the folder can't be used.
    """
    return open_storage(
        settings.storage_url,
        home=settings.home,
        base_url=base_url,
        cache_bytes=settings.storage_cache_gb * 10**9,
        load_secret=cache(lambda: shared_secret(database, STORAGE_KEY, datetime.now(UTC))),
    )


def server_address(settings: Settings) -> str:
    """Where people reach the server: as configured, else as the running server says, else where it would listen."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads((settings.home / "server.json").read_text())["address"])
    return f"http://{settings.host}:{settings.port}"


def server_id(home: Path) -> str:
    """The name of the server of this data dir, which outlives restarts."""
    path = home / "server.id"
    with suppress(FileExistsError):
        draft = home / f".server.id.{os.getpid()}"
        draft.write_text(secrets.token_hex(8))
        try:
            # A link, because it fails where another process was first.
            os.link(draft, path)
        finally:
            draft.unlink()
    return path.read_text().strip()
