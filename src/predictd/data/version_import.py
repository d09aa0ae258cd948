"""Import a data version that was downloaded from Numerai."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from predictd.data import schema
from predictd.data.atomic_write import require_vacant, staged_folder
from predictd.data.files import list_files
from predictd.data.verification import check_live_files, check_table, count_features
from predictd.domain.errors import InvalidInputError

_ATTEMPTS = 3
_BLOCK = 8 * 1024 * 1024
_VERSION = re.compile(r"v\d+(\.\d+)*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class ImportedVersion:
    """An imported data version.

    Attributes:
        name: the version, such as 'v5.3', from the name of the source folder, or None.
        folder: its folder.
        files: names of its files, sorted.
        rows: number of rows of each parquet file.
        features: number of features.
    """

    name: str | None
    folder: Path
    files: tuple[str, ...]
    rows: dict[str, int]
    features: int


def import_version(source: Path, dest: Path, progress: Callable[[str, float], None]) -> ImportedVersion:
    """Verify the files in `source`, or in its only subfolder such as v5.3, and copy them to `dest` atomically.

    features.json and live.parquet are required; other files are copied if present, following links. `progress(file,
    share)` is called with the current file and the copied share of all files, 0 to 1. Raises InvalidInputError for an
    invalid file and ConflictError if `dest` exists.
    """
    require_vacant(dest)
    folder = _find(source)
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    features = count_features(folder / schema.FEATURES_FILE)
    rows: dict[str, int] = {}
    for name in names:
        if name.endswith(".parquet"):
            progress(name, 0.0)
            rows[name] = check_table(folder / name, folder / schema.FEATURES_FILE)
    check_live_files(folder)
    total = max(sum((folder / name).stat().st_size for name in names), 1)
    done = 0
    with staged_folder(dest) as staging:
        for name in names:

            def advance(copied: int, name: str = name) -> None:
                nonlocal done
                done += copied
                progress(name, min(done / total, 1.0))

            copy_stable(folder / name, staging / name, advance)
    version = folder.name if _VERSION.fullmatch(folder.name) else None
    return ImportedVersion(name=version, folder=dest, files=tuple(list_files(dest)), rows=rows, features=features)


def _find(source: Path) -> Path:
    """Return the folder with the files: `source` itself or its only subfolder named like a version."""
    needed = (schema.FEATURES_FILE, schema.LIVE_FILE)
    if not source.is_dir():
        raise InvalidInputError(f"{source} is not a folder. Pass the folder with {' and '.join(needed)}.")
    inner = [path for path in sorted(source.iterdir()) if path.is_dir() and _VERSION.fullmatch(path.name)]
    complete = [path for path in (source, *inner) if all((path / name).is_file() for name in needed)]
    if len(complete) == 1 or complete[:1] == [source]:
        return complete[0]
    if complete:
        versions = ", ".join(path.name for path in complete)
        raise InvalidInputError(
            f"{source} contains several data versions ({versions}). Pass the folder of one version."
        )
    missing = " and ".join(name for name in needed if not (source / name).is_file())
    raise InvalidInputError(
        f"{source} does not contain {missing}. Download it into that folder, "
        "for example with NumerAPI().download_dataset('v5.3/live.parquet')."
    )


def copy_stable(source: Path, target: Path, advance: Callable[[int], None] = lambda _: None) -> None:
    """Copy a file as it was at one moment; call `advance(n)` for every n bytes.

    Never a hard link, because a download that rewrites the source in place would change the copy too. If the source
    changes during the copy, the copy restarts; raises InvalidInputError if it keeps changing.
    """
    for _ in range(_ATTEMPTS):
        with source.open("rb") as reader, target.open("wb") as writer:
            before = os.fstat(reader.fileno())
            copied = 0
            while block := reader.read(_BLOCK):
                writer.write(block)
                copied += len(block)
                advance(len(block))
            if (
                _is_unchanged(before, os.fstat(reader.fileno()))
                and _is_unchanged(before, source.stat())
                and copied == before.st_size
            ):
                return
        advance(-copied)
    raise InvalidInputError(f"{source.name} is still being written. Try again after its download has finished.")


def _is_unchanged(first: os.stat_result, second: os.stat_result) -> bool:
    return (first.st_dev, first.st_ino, first.st_size, first.st_mtime_ns) == (
        second.st_dev,
        second.st_ino,
        second.st_size,
        second.st_mtime_ns,
    )
