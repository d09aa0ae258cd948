"""The live data of a trial: beside the validation data, or fetched from the server that this came from."""

from pathlib import Path

from predictd.client.transfer import ShowProgress, TransferError
from predictd.data.schema import LIVE_BENCHMARKS_FILE, LIVE_FILE
from predictd.local_run.datasets import fetch_dataset, list_datasets


def find_live(source: Path, server: str, cache: Path, folder: Path, show: ShowProgress) -> Path | None:
    """A folder with live.parquet and, if there are any, live_benchmark_models.parquet; None if there is none.

    Args:
        source: the data version's folder. Where it lies in `cache`, the live data of its name is fetched, because each
            round has its own; else it is that of the folder.
        server: where it is fetched from.
        cache: where data versions are kept that were fetched.
        folder: gets what is fetched.
        show: told of downloads.
    """
    if source.parent != cache:
        return source if (source / LIVE_FILE).is_file() else None
    try:
        names = list_datasets(server)
        for filename in (LIVE_FILE, LIVE_BENCHMARKS_FILE):
            if f"{source.name}/{filename}" in names:
                fetch_dataset(server, f"{source.name}/{filename}", folder, show)
    except TransferError:
        # What was fetched before is enough to test a model without a connection.
        return None
    found = folder / source.name
    return found if (found / LIVE_FILE).is_file() else None
