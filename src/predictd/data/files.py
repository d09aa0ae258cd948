"""List, resolve and open the files of a data version's folder."""

import re
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from predictd.data.tables import INDEX
from predictd.domain.errors import InvalidInputError, NotFoundError

PUBLIC_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)


def list_files(folder: Path) -> list[str]:
    """Return the sorted names of the files that users may download: no hidden files, links or subfolders."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if _is_public(path))


def resolve(folder: Path, name: str) -> Path:
    """Return the file of that name in `folder`. Raises NotFoundError for files that `list_files` does not list."""
    if PUBLIC_NAME.fullmatch(name) and _is_public(folder / name):
        return folder / name
    raise NotFoundError(f"This data version has no file '{name[:200]}'.")


def read_ids(live_parquet: Path | BinaryIO, name: str = "") -> list[str]:
    """Return the ids of a parquet file in row order, reading only that column. `name` is that of an open file.

    Raises InvalidInputError if the file is not parquet or has no column `id`.
    """
    with open_parquet(live_parquet, name) as file:
        if INDEX not in file.schema_arrow.names:
            raise InvalidInputError(
                f"{name or Path(str(live_parquet)).name} has no index 'id'. Write it with the ids as index 'id'."
            )
        ids: list[str] = file.read(columns=[INDEX]).column(INDEX).to_pylist()
    return ids


def row_count(parquet: Path) -> int:
    """Return the number of rows, reading only the footer. Raises InvalidInputError if the file is not parquet."""
    with open_parquet(parquet) as file:
        return int(file.metadata.num_rows)


def open_parquet(source: Path | BinaryIO, name: str = "") -> pq.ParquetFile:
    """Open a parquet file; raises InvalidInputError with the path or `name` instead of Arrow's errors."""
    try:
        return pq.ParquetFile(source)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, MemoryError) or "bad_alloc" in str(error):
            # Arrow's thrift reader has no other error for this.
            raise MemoryError from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        label = name or Path(str(source)).name
        raise InvalidInputError(
            f"{label} can't be read as a parquet file ({reason}). Download or write the complete file again."
        ) from error


def _is_public(path: Path) -> bool:
    return PUBLIC_NAME.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()
