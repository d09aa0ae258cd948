"""The parts of one deployment, opened from its settings; what the server and the organiser's commands share."""

import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from predictd.db import Database
from predictd.domain.errors import SetupError
from predictd.settings import Settings
from predictd.storage import FolderStorage


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """An open deployment: its settings, its database (up to date) and its storage."""

    settings: Settings
    database: Database
    storage: FolderStorage


def open_deployment(settings: Settings, base_url: str = "") -> Deployment:
    """Open the data dir and the database, making both where they are missing.

    Raises:
        SetupError: the data dir can't be written to.
    """
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        storage = FolderStorage.open(home / "storage", base_url=base_url)
    except OSError as error:
        raise SetupError(
            f"The data dir {home} can't be used: {error.strerror}. Choose another with --data-dir."
        ) from error
    database = Database(settings.resolved_database_url)
    database.upgrade()
    return Deployment(settings=settings, database=database, storage=storage)


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
