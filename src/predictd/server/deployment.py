"""A deployment, opened from its settings, as the server and the admin commands use it."""

import json
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from predictd.db import Database
from predictd.db.secrets import shared_secret
from predictd.domain.errors import SetupError
from predictd.settings import Settings, refuse_example_secrets
from predictd.storage import Storage, open_storage

if TYPE_CHECKING:
    from predictd.data.mapped_cache import MappedCache
    from predictd.rounds.scorer import Scorer

# Name of the key that signs upload URLs of the server itself.
STORAGE_KEY = "storage"
_PRIVATE_FOLDERS = ("storage", "objects", "mapped", "tmp")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """An open deployment: settings, upgraded database and storage."""

    settings: Settings
    database: Database
    storage: Storage


def open_deployment(settings: Settings, base_url: str = "") -> Deployment:
    """Open the data directory and the database, creating both if they are missing.

    Raises:
        SetupError: the data directory or the storage folder can't be written or made private, a secret has the value
            of the examples, or the schema does not match.
        InvalidInputError: the storage URL is invalid.
    """
    refuse_example_secrets(settings)
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _restrict_folders(home)
        database = Database(settings.resolved_database_url)
        storage = open_configured_storage(settings, database, base_url)
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


def _restrict_folders(home: Path) -> None:
    """Make the folders of pickles and data private, even if the data directory is not.

    The data directory itself is not changed: it may be shared, and its runtimes are not secret.

    Raises:
        OSError: a folder is not private and belongs to another user.
    """
    for name in _PRIVATE_FOLDERS:
        folder = home / name
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(folder.stat().st_mode)
            if mode & 0o077:
                folder.chmod(mode & 0o700)


def open_configured_storage(settings: Settings, database: Database, base_url: str = "") -> Storage:
    """Open the storage; a missing folder is created, a bucket is not contacted yet.

    Raises:
        InvalidInputError: the storage URL is invalid.
        OSError: the folder can't be used.
    """
    return open_storage(
        settings.storage_url,
        home=settings.home,
        base_url=base_url,
        cache_bytes=settings.storage_cache_gb * 10**9,
        load_secret=cache(lambda: shared_secret(database, STORAGE_KEY, datetime.now(UTC))),
    )


def mapped_cache(deployment: Deployment) -> "MappedCache":
    """Return the cache of memory-mapped data files."""
    from predictd.data.mapped_cache import MappedCache  # noqa: PLC0415 (pyarrow takes a second to import)

    settings = deployment.settings
    return MappedCache(folder=settings.mapped_home, limit=settings.mapped_cache_gb * 10**9)


def round_scorer(deployment: Deployment) -> "Scorer":
    """Return the scorer of the deployment's rounds."""
    from predictd.rounds.scorer import Scorer  # noqa: PLC0415 (pyarrow takes a second to import)

    return Scorer(
        database=deployment.database,
        storage=deployment.storage,
        mapped=mapped_cache(deployment),
        factors=deployment.settings.factors_home,
    )


def server_address(settings: Settings) -> str:
    """Return the URL of the server: the configured one, that of the running server, or where it would listen."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    with suppress(OSError, ValueError, KeyError):
        return str(json.loads((settings.home / "server.json").read_text())["address"])
    return f"http://{settings.host}:{settings.port}"


def server_id(home: Path) -> str:
    """Return the id of the server of this data directory, which survives restarts."""
    path = home / "server.id"
    with suppress(FileExistsError):
        draft = home / f".server.id.{os.getpid()}"
        draft.write_text(secrets.token_hex(8))
        try:
            # A hard link fails if another process was first.
            os.link(draft, path)
        finally:
            draft.unlink()
    return path.read_text().strip()
