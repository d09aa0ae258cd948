"""The data files that a server of this interface offers, by the names that `numerapi` uses."""

import re
from pathlib import Path
from typing import Any

from predictd.client.transfer import ShowProgress, TransferError, download, open_session, refused, send, without_query
from predictd.data.schema import LIVE_FILE
from predictd.domain.errors import NotFoundError
from predictd.domain.names import CLASSIC

DEFAULT_SERVER = "https://api-tournament.numer.ai"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+", re.ASCII)
_VERSION = re.compile(r"v(\d+(?:\.\d+)*)", re.ASCII)
_LIST = "query($tournament: Int) { listDatasets(tournament: $tournament) }"
_URL = "query($filename: String!, $tournament: Int) { dataset(filename: $filename, tournament: $tournament) }"


def is_dataset_name(text: str) -> bool:
    """Whether the text can be a dataset's name, such as 'v5.3/live.parquet'."""
    return _NAME.fullmatch(text) is not None


def list_datasets(server: str) -> frozenset[str]:
    """The names of all files that the server offers.

    Raises:
        TransferError: the server can't be asked.
    """
    return frozenset(str(name) for name in _ask(server, _LIST, {"tournament": CLASSIC})["listDatasets"] or [])


def newest_live(names: frozenset[str], server: str) -> str:
    """The name of the live features of the newest data version among the names.

    Raises:
        NotFoundError: there are none.
    """
    versions = [name.removesuffix(f"/{LIVE_FILE}") for name in names if name.endswith(f"/{LIVE_FILE}")]
    if not versions:
        raise NotFoundError(f"{server} offers no {LIVE_FILE}; give --dataset and --benchmarks.")
    return f"{max(versions, key=_age)}/{LIVE_FILE}"


def fetch_dataset(server: str, name: str, folder: Path, show: ShowProgress) -> Path:
    """Download a dataset to `folder/name` and answer that path; live data is fetched anew, as each round has its own.

    Raises:
        TransferError: the server can't be reached.
        NotFoundError: it has no dataset of that name.
    """
    target = folder / name
    download(_ask(server, _URL, {"filename": name, "tournament": CLASSIC})["dataset"], target, show)
    return target


def _age(version: str) -> tuple[list[int], str]:
    """Sorts versions by their numbers, those of other names before all."""
    numbers = _VERSION.fullmatch(version)
    return [int(part) for part in numbers[1].split(".")] if numbers else [], version


def _ask(server: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    with open_session() as session:
        response = send(session, "POST", server, json={"query": query, "variables": variables})
    if response.status_code != 200:
        raise refused(server, response, "Check --server.")
    try:
        answer = response.json()
        errors = [str(error["message"]) for error in answer.get("errors") or []]
        data = dict(answer.get("data") or {})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TransferError(
            f"{without_query(server)} does not answer as a server of predictions does. Check --server."
        ) from error
    if errors:
        raise NotFoundError(f"{without_query(server)} answered: {' '.join(errors)[:500]}")
    return data
