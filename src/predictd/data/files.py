"""What a data version's folder holds, and the way to one of its files."""

import re
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from predictd.data.tables import INDEX
from predictd.domain.errors import InvalidInputError, NotFoundError

PUBLIC_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)


def list_files(folder: Path) -> list[str]:
    """Names of the files that users may download, sorted: no hidden files, no links, nothing in subfolders."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if _is_public(path))


def resolve(folder: Path, name: str) -> Path:
    """The file of that name in `folder`; NotFoundError for all that `list_files` does not name."""
    if PUBLIC_NAME.fullmatch(name) and _is_public(folder / name):
        return folder / name
    raise NotFoundError(f"There is no file '{name[:200]}' in this data version.")


def read_ids(live_parquet: Path | BinaryIO, name: str = "") -> list[str]:
    """The ids of a parquet file in the order of its rows; reads that column only. `name` is that of an open file.

    Raises InvalidInputError when the file is not parquet or has no string column `id`.
    """
    with open_parquet(live_parquet, name) as file:
        if INDEX not in file.schema_arrow.names:
            raise InvalidInputError(
                f"{name or Path(str(live_parquet)).name} has no index 'id'; write it with the ids as index 'id'."
            )
        ids: list[str] = file.read(columns=[INDEX]).column(INDEX).to_pylist()
    return ids


def row_count(parquet: Path) -> int:
    """The number of rows, from the footer alone. Raises InvalidInputError when the file is not parquet."""
    with open_parquet(parquet) as file:
        return int(file.metadata.num_rows)


def open_parquet(source: Path | BinaryIO, name: str = "") -> pq.ParquetFile:
    """Open a parquet file; InvalidInputError, which names the path or `name`, instead of Arrow's own errors."""
    try:
        return pq.ParquetFile(source)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, MemoryError) or "bad_alloc" in str(error):
            # Arrow's thrift reader gives no other sign.
            raise MemoryError from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        shown = name or Path(str(source)).name
        raise InvalidInputError(
            f"{shown} can't be read as a parquet file ({reason}); download or write it again, the whole of it."
        ) from error


def _is_public(path: Path) -> bool:
    return PUBLIC_NAME.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()
