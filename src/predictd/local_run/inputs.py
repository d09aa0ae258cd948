"""The files of one run: found here, or fetched from where they are."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from predictd.client.datasets import is_dataset_name
from predictd.client.transfer import ShowProgress, download
from predictd.data import read_ids
from predictd.domain.errors import InvalidInputError
from predictd.local_run.datasets import fetch_dataset, list_datasets, newest_live


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a person asks for.

    Attributes:
        model: path or URL of the pickle.
        dataset: path, URL or name of the live features; None means the newest of the server.
        benchmarks: the same of the live benchmark models; None means those that belong to `dataset`, if any.
        server: address from which datasets are fetched by name.
    """

    model: str
    dataset: str | None
    benchmarks: str | None
    server: str


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The files of one run on this machine; `live_ids` are the ids of `live`, in the order of its rows."""

    model: Path
    live: Path
    live_ids: list[str]
    benchmarks: Path | None


def gather(wanted: Wanted, folder: Path, show: ShowProgress) -> Inputs:
    """Find the files, or fetch them into `folder`, and check that they belong together.

    Raises:
        InvalidInputError: a file is missing or no parquet file, or the benchmark models are of other ids.
        NotFoundError: the server has no such dataset.
        TransferError: something can't be fetched.
    """
    if not is_url(wanted.model) and not Path(wanted.model).is_file():
        raise InvalidInputError(f"There is no file {wanted.model}; give --model the path or the URL of a pickle.")
    wanted = _with_defaults(wanted)
    assert wanted.dataset is not None
    live = _data_file(wanted.dataset, "--dataset", wanted.server, folder, show)
    live_ids = _live_ids(live)
    benchmarks = None
    if wanted.benchmarks is not None:
        benchmarks = _data_file(wanted.benchmarks, "--benchmarks", wanted.server, folder, show)
        _check_alignment(benchmarks, live, live_ids)
    model = Path(wanted.model)
    if is_url(wanted.model):
        model = folder / name_in(wanted.model, "model.pkl")
        download(wanted.model, model, show)
    return Inputs(model=model, live=live, live_ids=live_ids, benchmarks=benchmarks)


def is_url(text: str) -> bool:
    """Whether the text is an http or https URL."""
    return text.lower().startswith(("http://", "https://"))


def name_in(url: str, default: str) -> str:
    """The last part of a URL's path as a safe filename; `default` where there is none."""
    last = unquote(urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".")[-200:] or default


def _with_defaults(wanted: Wanted) -> Wanted:
    """What is not named follows from what is: the benchmark models of x.parquet are in x_benchmark_models.parquet."""
    dataset = wanted.dataset
    if dataset is not None and (wanted.benchmarks is not None or is_url(dataset)):
        return wanted
    if dataset is not None and not _is_to_fetch(dataset):
        beside = _benchmarks_of(dataset)
        return replace(wanted, benchmarks=beside if Path(beside).is_file() else None)
    names = list_datasets(wanted.server)
    dataset = dataset or newest_live(names, wanted.server)
    beside = _benchmarks_of(dataset)
    return replace(wanted, dataset=dataset, benchmarks=wanted.benchmarks or (beside if beside in names else None))


def _benchmarks_of(dataset: str) -> str:
    return f"{dataset.removesuffix('.parquet')}_benchmark_models.parquet"


def _is_to_fetch(text: str) -> bool:
    """Whether the text names a dataset of the server's and not a file that is here."""
    return is_dataset_name(text) and not Path(text).is_file()


def _data_file(text: str, option: str, server: str, folder: Path, show: ShowProgress) -> Path:
    if Path(text).is_file():
        return Path(text)
    if is_url(text):
        target = folder / name_in(text, f"{option.lstrip('-')}.parquet")
        download(text, target, show)
        return target
    if _is_to_fetch(text):
        return fetch_dataset(server, text, folder, show)
    raise InvalidInputError(
        f"There is no file {text}; give {option} a parquet file, a URL, or a dataset's name such as v5.3/live.parquet."
    )


def _live_ids(live: Path) -> list[str]:
    ids = read_ids(live)
    if not ids or len(set(ids)) < len(ids):
        wrong = "repeats some of its ids" if ids else "has no rows"
        raise InvalidInputError(f"{live.name} {wrong}; give --dataset a file with one row for each id.")
    return ids


def _check_alignment(benchmarks: Path, live: Path, live_ids: list[str]) -> None:
    """A live file of one round and the benchmark models of another look alike, and share no id."""
    known = set(read_ids(benchmarks))
    missing = [one for one in live_ids if one not in known]
    if missing:
        raise InvalidInputError(
            f"{benchmarks.name} lacks {len(missing)} of the {len(live_ids)} ids of {live.name}, first {missing[0]}; "
            "give --dataset and --benchmarks files of the same round and data version."
        )
