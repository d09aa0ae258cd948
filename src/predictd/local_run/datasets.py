"""Fetching data files by name, for a run on this machine."""

import re
from contextlib import closing
from pathlib import Path

from predictd.client import datasets
from predictd.client.connection import Connection
from predictd.client.transfer import ShowProgress, download
from predictd.data.schema import LIVE_FILE
from predictd.domain.errors import NotFoundError

DEFAULT_SERVER = "https://api-tournament.numer.ai"

_VERSION = re.compile(r"v(\d+(?:\.\d+)*)", re.ASCII)


def list_datasets(server: str) -> frozenset[str]:
    """The names of all files that the server offers.

    Raises:
        TransferError: the server can't be asked.
    """
    with closing(Connection(server, None)) as connection:
        return frozenset(datasets.list_datasets(connection))


def newest_live(names: frozenset[str], server: str) -> str:
    """The name of the live features of the newest data version among the names.

    Raises:
        NotFoundError: there are none.
    """
    version = newest_version(names, LIVE_FILE)
    if version is None:
        raise NotFoundError(f"{server} offers no {LIVE_FILE}; give --dataset and --benchmarks.")
    return f"{version}/{LIVE_FILE}"


def newest_version(names: frozenset[str], filename: str) -> str | None:
    """The newest data version that has a file of that name, if any has."""
    versions = [name.removesuffix(f"/{filename}") for name in names if name.endswith(f"/{filename}")]
    return max(versions, key=_age, default=None)


def fetch_dataset(server: str, name: str, folder: Path, show: ShowProgress) -> Path:
    """Download a dataset to `folder/name` and answer that path; live data is fetched anew, as each round has its own.

    Raises:
        TransferError: the server can't be reached.
        NotFoundError: it has no dataset of that name.
    """
    target = folder / name
    with closing(Connection(server, None)) as connection:
        download(datasets.dataset_url(connection, name), target, show)
    return target


def _age(version: str) -> tuple[list[int], str]:
    """Sorts versions by their numbers, those of other names before all."""
    numbers = _VERSION.fullmatch(version)
    return [int(part) for part in numbers[1].split(".")] if numbers else [], version
