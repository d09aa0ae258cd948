"""The data files of a run as files of this machine."""

from contextlib import ExitStack
from pathlib import Path

from predictd.storage import Storage


def local_data(storage: Storage, features_key: str, benchmarks_key: str, files: ExitStack) -> tuple[Path, Path | None]:
    """The features and, where the data version has them, the benchmark models; there until `files` is closed.

    Raises:
        PlatformError: there are no features.
    """
    features = files.enter_context(storage.local_path(features_key))
    if storage.stat(benchmarks_key) is None:
        return features, None
    return features, files.enter_context(storage.local_path(benchmarks_key))
