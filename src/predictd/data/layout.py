"""Where the files of a data version and of its rounds lie in storage."""


def version_key(version: str, filename: str = "") -> str:
    """Key of a file of a data version, or of its folder: `data/v5.3/train.parquet`."""
    return f"data/{version}/{filename}".rstrip("/")


def round_key(version: str, number: int, filename: str = "") -> str:
    """Key of a live file of one round, or of the round's folder: `rounds/v5.3/7/live.parquet`."""
    return f"rounds/{version}/{number}/{filename}".rstrip("/")


def targets_key(version: str, number: int) -> str:
    """Key of the targets of a round, which nobody sees before it resolves."""
    return f"targets/{version}/{number}.parquet"


def meta_model_key(version: str, number: int) -> str:
    """Key of the meta model of a round."""
    return f"meta_models/{version}/{number}.parquet"
