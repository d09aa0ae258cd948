"""The live files of a run as files of this machine."""

from contextlib import ExitStack
from pathlib import Path

from predictd.storage import Storage


def local_live_files(
    storage: Storage, live_key: str, benchmarks_key: str, files: ExitStack
) -> tuple[Path, Path | None]:
    """The live features and, where the data version has them, the benchmark models; there until `files` is closed.

    Raises:
        PlatformError: there are no live features.
    """
    live = files.enter_context(storage.local_path(live_key))
    if storage.stat(benchmarks_key) is None:
        return live, None
    return live, files.enter_context(storage.local_path(benchmarks_key))
