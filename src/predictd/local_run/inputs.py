"""Find or download the input files of a run."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from predictd.client.datasets import is_dataset_name
from predictd.client.transfer import ShowProgress, download
from predictd.data import read_ids
from predictd.domain.errors import InvalidInputError
from predictd.local_run.dataset_files import fetch_dataset, list_datasets, newest_live


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """The requested input files.

    Attributes:
        model: path or URL of the pickle.
        dataset: path, URL or name of the live features; None means the newest on the server.
        benchmarks: path, URL or name of the live benchmark models; None means those of `dataset`, if any.
        server: address to download datasets from by name.
    """

    model: str
    dataset: str | None
    benchmarks: str | None
    server: str


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The input files of a run; `live_ids` are the ids of `live` in the order of its rows."""

    model: Path
    live: Path
    live_ids: list[str]
    benchmarks: Path | None


def collect_inputs(options: InputOptions, folder: Path, show: ShowProgress) -> Inputs:
    """Find the files or download them to `folder`, and check that they match.

    Raises:
        InvalidInputError: A file is missing or not a parquet file, or the benchmark models lack ids.
        NotFoundError: The server has no such dataset.
        TransferError: A download failed.
    """
    if not is_url(options.model) and not Path(options.model).is_file():
        raise InvalidInputError(
            f"The file {options.model} does not exist. Pass --model the path or the URL of a pickle."
        )
    options = _with_defaults(options)
    assert options.dataset is not None
    live = _data_file(options.dataset, "--dataset", options.server, folder, show)
    live_ids = _live_ids(live)
    benchmarks = None
    if options.benchmarks is not None:
        benchmarks = _data_file(options.benchmarks, "--benchmarks", options.server, folder, show)
        _check_alignment(benchmarks, live, live_ids)
    model = Path(options.model)
    if is_url(options.model):
        model = folder / name_in(options.model, "model.pkl")
        download(options.model, model, show)
    return Inputs(model=model, live=live, live_ids=live_ids, benchmarks=benchmarks)


def is_url(text: str) -> bool:
    """Return whether the text is an http or https URL."""
    return text.lower().startswith(("http://", "https://"))


def name_in(url: str, default: str) -> str:
    """Return the last part of a URL's path as a safe filename, or `default` if it is empty."""
    last = unquote(urlsplit(url).path).rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", last).lstrip(".")[-200:] or default


def _with_defaults(options: InputOptions) -> InputOptions:
    """Fill in missing options: the benchmark models of x.parquet are in x_benchmark_models.parquet."""
    dataset = options.dataset
    if dataset is not None and (options.benchmarks is not None or is_url(dataset)):
        return options
    if dataset is not None and not _is_to_fetch(dataset):
        matching = _benchmarks_of(dataset)
        return replace(options, benchmarks=matching if Path(matching).is_file() else None)
    names = list_datasets(options.server)
    dataset = dataset or newest_live(names, options.server)
    matching = _benchmarks_of(dataset)
    return replace(options, dataset=dataset, benchmarks=options.benchmarks or (matching if matching in names else None))


def _benchmarks_of(dataset: str) -> str:
    return f"{dataset.removesuffix('.parquet')}_benchmark_models.parquet"


def _is_to_fetch(text: str) -> bool:
    """Return whether the text names a dataset of the server and not a local file."""
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
        f"The file {text} does not exist. Pass {option} a parquet file, a URL, or a dataset such as v5.3/live.parquet."
    )


def _live_ids(live: Path) -> list[str]:
    ids = read_ids(live)
    if not ids or len(set(ids)) < len(ids):
        problem = "repeats some of its ids" if ids else "has no rows"
        raise InvalidInputError(f"{live.name} {problem}. Pass --dataset a file with one row for each id.")
    return ids


def _check_alignment(benchmarks: Path, live: Path, live_ids: list[str]) -> None:
    """Check that the benchmark models have all ids; those of another round look alike but share no id."""
    benchmark_ids = set(read_ids(benchmarks))
    missing = [row_id for row_id in live_ids if row_id not in benchmark_ids]
    if missing:
        raise InvalidInputError(
            f"{benchmarks.name} lacks {len(missing)} of the {len(live_ids)} ids of {live.name}, first {missing[0]}; "
            "pass --dataset and --benchmarks files of the same round and data version."
        )
