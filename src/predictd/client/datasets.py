"""The data files of a server, with the names that `numerapi` uses, such as 'v5.3/live.parquet'."""

import re

from predictd.client.connection import Connection
from predictd.client.documents import DATASET, DATASETS
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+", re.ASCII)


def is_dataset_name(text: str) -> bool:
    """Return whether the text is a valid dataset name: a relative path without '..'."""
    return _NAME.fullmatch(text) is not None


def list_datasets(connection: Connection) -> list[str]:
    """Return the names of all files on the server."""
    return [str(name) for name in connection.query(DATASETS, {"tournament": CLASSIC}).get("listDatasets") or ()]


def dataset_url(connection: Connection, name: str, round_number: int | None = None) -> str:
    """Return the download URL of a file; for live data, that of a round, by default the newest.

    Raises:
        InvalidInputError: The name is not a valid dataset name.
        NotFoundError: The server has no dataset with this name.
    """
    if not is_dataset_name(name):
        raise InvalidInputError(f"{name[:100]!r} is not a dataset name. Use a name such as v5.3/live.parquet.")
    data = connection.query(DATASET, {"filename": name, "round": round_number, "tournament": CLASSIC})
    if not data.get("dataset"):
        raise NotFoundError(f"{connection.server} has no dataset {name}.")
    return str(data["dataset"])
