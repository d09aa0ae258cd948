"""The validation files of a data version: in a folder of this machine, or fetched once from a server."""

from pathlib import Path

from predictd.client.transfer import ShowProgress
from predictd.data.schema import (
    FEATURES_FILE,
    META_MODEL_FILE,
    VALIDATION_BENCHMARKS_FILE,
    VALIDATION_EXAMPLE_FILE,
    VALIDATION_FILE,
)
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.local_run.datasets import fetch_dataset, list_datasets, newest_version

_FILES = (FEATURES_FILE, META_MODEL_FILE, VALIDATION_BENCHMARKS_FILE, VALIDATION_EXAMPLE_FILE, VALIDATION_FILE)
"""The largest comes last, so that a version whose validation file is there is whole."""


def validation_folder(text: str | None, server: str, cache: Path, show: ShowProgress) -> Path:
    """The folder of the validation files that are meant.

    Args:
        text: a folder, or the name of a data version at the server such as 'v5.3'; None means the server's newest.
        server: where files are fetched from.
        cache: gets a folder for each version that is fetched; what is there is not fetched again.
        show: told of downloads.

    Raises:
        InvalidInputError: the folder has no validation.parquet.
        NotFoundError: the server has no such data version.
        TransferError: something can't be fetched.
    """
    if text is not None and Path(text).is_dir():
        if not (Path(text) / VALIDATION_FILE).is_file():
            raise InvalidInputError(f"{text} has no {VALIDATION_FILE}; give --data a folder of a data version.")
        return Path(text)
    if text is not None and (cache / text / VALIDATION_FILE).is_file() and Path(text).name == text:
        return cache / text
    names = list_datasets(server)
    version = text or newest_version(names, VALIDATION_FILE)
    if f"{version}/{VALIDATION_FILE}" not in names:
        meant = f"no data version {text!r}, and here is no such folder" if text else f"no {VALIDATION_FILE}"
        raise NotFoundError(f"{server} offers {meant}; give --data a folder that holds {VALIDATION_FILE}.")
    for filename in _FILES:
        if f"{version}/{filename}" in names and not (cache / str(version) / filename).is_file():
            fetch_dataset(server, f"{version}/{filename}", cache, show)
    return cache / str(version)
