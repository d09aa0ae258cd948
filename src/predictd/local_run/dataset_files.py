"""Find data files on this machine or download them by name."""

import re
from contextlib import closing
from pathlib import Path

from predictd.client import datasets
from predictd.client.connection import Connection
from predictd.client.transfer import ShowProgress, download
from predictd.data.schema import (
    FEATURES_FILE,
    LIVE_FILE,
    META_MODEL_FILE,
    VALIDATION_BENCHMARKS_FILE,
    VALIDATION_EXAMPLE_FILE,
    VALIDATION_FILE,
)
from predictd.domain.errors import InvalidInputError, NotFoundError

DEFAULT_SERVER = "https://api-tournament.numer.ai"

_VALIDATION_FILES = (
    FEATURES_FILE,
    META_MODEL_FILE,
    VALIDATION_BENCHMARKS_FILE,
    VALIDATION_EXAMPLE_FILE,
    VALIDATION_FILE,
)
"""The largest file is last, so a version with a validation file is complete."""
_VERSION = re.compile(r"v(\d+(?:\.\d+)*)", re.ASCII)


def list_datasets(server: str) -> frozenset[str]:
    """Return the names of all files on the server.

    Raises:
        TransferError: The server is unreachable.
    """
    with closing(Connection(server, None)) as connection:
        return frozenset(datasets.list_datasets(connection))


def newest_live(names: frozenset[str], server: str) -> str:
    """Return the name of the live features of the newest data version.

    Raises:
        NotFoundError: There are no live features.
    """
    version = newest_version(names, LIVE_FILE)
    if version is None:
        raise NotFoundError(f"{server} has no {LIVE_FILE}. Pass --dataset and --benchmarks.")
    return f"{version}/{LIVE_FILE}"


def newest_version(names: frozenset[str], filename: str) -> str | None:
    """Return the newest data version with a file of this name, or None."""
    versions = [name.removesuffix(f"/{filename}") for name in names if name.endswith(f"/{filename}")]
    return max(versions, key=_version_order, default=None)


def fetch_dataset(server: str, name: str, folder: Path, show: ShowProgress) -> Path:
    """Download a dataset to `folder/name` and return the path; replace an existing file, as live data changes.

    Raises:
        TransferError: The server is unreachable.
        NotFoundError: The server has no dataset with this name.
    """
    target = folder / name
    with closing(Connection(server, None)) as connection:
        download(datasets.dataset_url(connection, name), target, show)
    return target


def validation_folder(text: str | None, server: str, cache: Path, show: ShowProgress) -> Path:
    """Return the folder of the validation files.

    Args:
        text: a folder, or the name of a data version on the server such as 'v5.3'; None means the newest one.
        server: address to download from.
        cache: folder of downloaded versions, which are not downloaded again.
        show: called with the progress of downloads.

    Raises:
        InvalidInputError: The folder has no validation.parquet.
        NotFoundError: The server has no such data version.
        TransferError: A download failed.
    """
    if text is not None and Path(text).is_dir():
        if not (Path(text) / VALIDATION_FILE).is_file():
            raise InvalidInputError(f"{text} has no {VALIDATION_FILE}. Pass --data the folder of a data version.")
        return Path(text)
    if text is not None and (cache / text / VALIDATION_FILE).is_file() and Path(text).name == text:
        return cache / text
    names = list_datasets(server)
    version = text or newest_version(names, VALIDATION_FILE)
    if f"{version}/{VALIDATION_FILE}" not in names:
        missing = f"no data version {text!r}, and there is no such folder here" if text else f"no {VALIDATION_FILE}"
        raise NotFoundError(f"{server} has {missing}. Pass --data a folder with {VALIDATION_FILE}.")
    for filename in _VALIDATION_FILES:
        if f"{version}/{filename}" in names and not (cache / str(version) / filename).is_file():
            fetch_dataset(server, f"{version}/{filename}", cache, show)
    return cache / str(version)


def _version_order(version: str) -> tuple[list[int], str]:
    """Return a sort key: versions by number, other names before them."""
    numbers = _VERSION.fullmatch(version)
    return [int(part) for part in numbers[1].split(".")] if numbers else [], version
