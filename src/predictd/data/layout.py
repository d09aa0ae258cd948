"""Storage keys of the files of a data version and of its rounds."""

from predictd.data.files import PUBLIC_NAME
from predictd.storage import Storage


def version_key(version: str, filename: str = "") -> str:
    """Return the key of a file of a data version, or of its folder: `data/v5.3/train.parquet`."""
    return f"data/{version}/{filename}".rstrip("/")


def round_key(version: str, number: int, filename: str = "") -> str:
    """Return the key of a live file of a round, or of the round's folder: `rounds/v5.3/7/live.parquet`."""
    return f"rounds/{version}/{number}/{filename}".rstrip("/")


def targets_key(version: str, number: int) -> str:
    """Return the key of the targets of a round, which are private until it resolves."""
    return f"targets/{version}/{number}.parquet"


def meta_model_key(version: str, number: int) -> str:
    """Return the key of the meta model of a round."""
    return f"meta_models/{version}/{number}.parquet"


def list_version(storage: Storage, version: str) -> list[str]:
    """Return the sorted names of the files of a data version in storage that users may download."""
    prefix = version_key(version) + "/"
    names = (entry.key.removeprefix(prefix) for entry in storage.objects(version_key(version)))
    return sorted(name for name in names if PUBLIC_NAME.fullmatch(name))
