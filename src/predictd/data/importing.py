"""Takes in a data version that was downloaded from Numerai."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from predictd.data import schema
from predictd.data.atomic_write import refuse_occupied, staged_folder
from predictd.data.copying import copy_settled
from predictd.data.files import list_files
from predictd.data.verification import check_live_files, check_table, count_features
from predictd.domain.errors import InvalidInputError

_VERSION = re.compile(r"v\d+(\.\d+)*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class ImportedVersion:
    """What was imported.

    Attributes:
        name: the version by the name of the folder it came from, such as 'v5.3'; None if that says none.
        folder: where it lies now.
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
    """Verify the files in `source`, or in its one subfolder such as v5.3, and copy them to `dest`, all or nothing.

    There must be a features.json and a live.parquet; of the rest, whatever is there is taken, links followed.
    `progress(file, share)` is called with the file at hand and how much of the whole is copied, 0 to 1.
    Raises InvalidInputError that names the file, what is wrong and the remedy; ConflictError when `dest` exists.
    """
    refuse_occupied(dest)
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

            copy_settled(folder / name, staging / name, advance)
    version = folder.name if _VERSION.fullmatch(folder.name) else None
    return ImportedVersion(name=version, folder=dest, files=tuple(list_files(dest)), rows=rows, features=features)


def _find(source: Path) -> Path:
    """The folder that holds the files: `source` itself or its one subfolder named like a version."""
    needed = (schema.FEATURES_FILE, schema.LIVE_FILE)
    if not source.is_dir():
        raise InvalidInputError(f"{source} is not a folder; name the folder that holds {' and '.join(needed)}.")
    inner = [path for path in sorted(source.iterdir()) if path.is_dir() and _VERSION.fullmatch(path.name)]
    complete = [path for path in (source, *inner) if all((path / name).is_file() for name in needed)]
    if len(complete) == 1 or complete[:1] == [source]:
        return complete[0]
    if complete:
        versions = ", ".join(path.name for path in complete)
        raise InvalidInputError(f"{source} holds several data versions ({versions}); name the folder of one of them.")
    missing = " and ".join(name for name in needed if not (source / name).is_file())
    raise InvalidInputError(
        f"{source} holds no {missing}; download it into that folder, "
        "for example by NumerAPI().download_dataset('v5.3/live.parquet')."
    )
