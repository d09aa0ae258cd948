"""The data files that a server offers, by the names that `numerapi` uses, such as 'v5.3/live.parquet'."""

import re

from predictd.client.connection import Connection
from predictd.client.documents import DATASET, DATASETS
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+", re.ASCII)


def is_dataset_name(text: str) -> bool:
    """Whether the text can be a dataset's name; such a name is a path that leads down."""
    return _NAME.fullmatch(text) is not None


def list_datasets(connection: Connection) -> list[str]:
    """The names of all files that the server offers."""
    return [str(name) for name in connection.ask(DATASETS, {"tournament": CLASSIC}).get("listDatasets") or ()]


def dataset_url(connection: Connection, name: str, round_number: int | None = None) -> str:
    """Where a file can be downloaded from; of live data that of a round, else the newest.

    Raises:
        InvalidInputError: that can't be a dataset's name.
        NotFoundError: the server has no dataset of that name.
    """
    if not is_dataset_name(name):
        raise InvalidInputError(f"{name[:100]!r} is no dataset's name; write one such as v5.3/live.parquet.")
    answer = connection.ask(DATASET, {"filename": name, "round": round_number, "tournament": CLASSIC})
    if not answer.get("dataset"):
        raise NotFoundError(f"{connection.server} has no dataset {name}.")
    return str(answer["dataset"])
